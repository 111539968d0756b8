package credentials

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"golang.org/x/oauth2"
	googleoauth "golang.org/x/oauth2/google"
)

// google has the application default credentials: GOOGLE_APPLICATION_CREDENTIALS, gcloud's, or those of
// the machine. They are found anew for each token.
type google struct{ config *Config }

const googleScope = "https://www.googleapis.com/auth/cloud-platform"

func (g *google) fetch(ctx context.Context) (token, error) {
	scopes := g.config.Scopes
	if len(scopes) == 0 {
		scopes = []string{googleScope}
	}
	ctx, cancel := context.WithTimeout(ctx, deskTime)
	defer cancel()
	found, err := googleoauth.FindDefaultCredentials(ctx, scopes...)
	if err != nil {
		return token{}, &SettingError{"type", "is google, and there are no application default credentials"}
	}
	t, err := found.TokenSource.Token()
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return token{}, ofRetrieve(e)
	}
	if err != nil {
		return token{}, errors.New("google gives no token") // the error may hold what was sent
	}
	return token{text: t.AccessToken, until: t.Expiry}, nil
}

func ofRetrieve(e *oauth2.RetrieveError) error {
	r := &refusal{}
	if e.Response != nil {
		r.status = e.Response.StatusCode
	}
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(e.Body, &body) == nil && oauthCode.MatchString(body.Error) {
		r.code = body.Error
	}
	return r
}

// azure has the default credentials of azidentity: the environment, a workload's or a machine's
// identity, or those of the command line.
type azure struct {
	config  *Config
	options *Options
}

func (a *azure) fetch(ctx context.Context) (token, error) {
	scopes := a.config.Scopes
	if len(scopes) == 0 {
		scopes = []string{cmp.Or(a.config.Audience, a.options.Server.Scheme+"://"+a.options.Server.Host) + "/.default"}
	}
	options := &azidentity.DefaultAzureCredentialOptions{}
	if a.options.Transport != nil {
		options.ClientOptions = azcore.ClientOptions{Transport: &http.Client{Transport: a.options.Transport}}
	}
	if a.options.Environment != nil && a.options.Environment("AZURE_AUTHORITY_HOST") != "" {
		options.DisableInstanceDiscovery = true // whoever names an authority trusts it
	}
	// A new one has no token in memory that the server has not accepted.
	credential, err := azidentity.NewDefaultAzureCredential(options)
	if err != nil {
		return token{}, &SettingError{"type", "is azure, and there are no default credentials of Azure"}
	}
	t, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: scopes})
	if e, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok {
		r := &refusal{}
		if e.RawResponse != nil {
			r.status = e.RawResponse.StatusCode
		}
		return token{}, r
	}
	if err != nil {
		return token{}, fmt.Errorf("%w: none of the default credentials of Azure gives a token", ErrRefused)
	}
	return token{text: t.Token, until: t.ExpiresOn}, nil
}

// amazon signs each request (SigV4).
type amazon struct {
	found  aws.CredentialsProvider
	signer *v4.Signer
	region string
	clock  func() time.Time
}

var healthLakeHost = regexp.MustCompile(`^healthlake\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$`)

func newAWS(ctx context.Context, c *Config, o *Options) (*amazon, error) {
	region := c.Region
	if region == "" {
		if m := healthLakeHost.FindStringSubmatch(o.Server.Hostname()); m != nil {
			region = m[1]
		}
	}
	conf, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(region))
	if err != nil {
		return nil, &SettingError{"type", "is aws, and the shared configuration of AWS cannot be read"}
	}
	if conf.Region == "" {
		return nil, &SettingError{"region", "is missing, and the address of the server does not say it"}
	}
	return &amazon{found: conf.Credentials, signer: v4.NewSigner(), region: conf.Region, clock: time.Now}, nil
}

// Authorize implements Source.
func (a *amazon) Authorize(ctx context.Context, r *http.Request, body []byte) error {
	c, err := a.found.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("%w: there are no credentials of AWS", ErrRefused)
	}
	sum := sha256.Sum256(body)
	if err := a.signer.SignHTTP(ctx, c, r, hex.EncodeToString(sum[:]), "healthlake", a.region, a.clock().UTC()); err != nil {
		return errors.New("the request cannot be signed")
	}
	return nil
}

// Renew implements Source.
func (a *amazon) Renew(string) bool {
	cache, ok := a.found.(*aws.CredentialsCache)
	if ok {
		cache.Invalidate()
	}
	return ok
}
