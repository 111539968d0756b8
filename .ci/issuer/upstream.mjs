// An OpenID provider (npm oidc-provider) where members sign in: upstream.mjs PORT REDIRECT_URI.
// Whoever signs in as X has the member id X. Its levels are 1 and 2; a login as low-X has level 1.
import { generateKeyPairSync } from "node:crypto";
import Provider, { interactionPolicy } from "oidc-provider";

const [port, redirect] = process.argv.slice(2);
const jwk = (type, options, more) => ({ ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), use: "sig", ...more });
const level = (id) => (id.startsWith("low-") ? "urn:example:ial:1" : "urn:example:ial:2");
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [jwk("rsa", { modulusLength: 2048 }, { kid: "r", alg: "RS256" }), jwk("ec", { namedCurve: "P-384" }, { kid: "e", alg: "ES384" })] },
  clients: [
    { client_id: "members", client_secret: "a secret:+%", redirect_uris: [redirect], response_types: ["code"], grant_types: ["authorization_code"], id_token_signed_response_alg: "ES384" },
  ],
  claims: { openid: ["sub", "acr", "auth_time"], member: ["member_id", "birthdate"] },
  scopes: ["openid", "member"],
  acrValues: ["urn:example:ial:1", "urn:example:ial:2"],
  cookies: { keys: ["for this test only"] },
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES384"] },
  pkce: { required: () => true },
  interactions: { policy: interactionPolicy.base() },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: `subject of ${id}`.replaceAll(" ", "-"), acr: level(id), member_id: id.replace("low-", ""), birthdate: "1980-02-03" }) }),
  features: { devInteractions: { enabled: true }, userinfo: { enabled: true } },
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
