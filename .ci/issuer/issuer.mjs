// An OpenID provider (npm oidc-provider) with tokens for the API: issuer.mjs PORT AUDIENCE FORMAT KEYFILE.
// Whoever signs in as X is the member X. KEYFILE has the key that signs; it is made if it is missing.
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import Provider from "oidc-provider";

const [port, audience, format, keyFile] = process.argv.slice(2);
if (!existsSync(keyFile)) {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(keyFile, JSON.stringify({ ...privateKey.export({ format: "jwk" }), kid: `key-${Date.now()}`, use: "sig", alg: "RS256" }), { mode: 0o600 });
}
const scopes = "patient/*.read patient/*.rs patient/Coverage.rs";
const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [JSON.parse(readFileSync(keyFile, "utf8"))] },
  clients: [
    { client_id: "app", client_secret: "app-secret", redirect_uris: ["http://127.0.0.1:9/callback"], grant_types: ["authorization_code", "refresh_token"], response_types: ["code"] },
    { client_id: "api", client_secret: "api secret:%", redirect_uris: [], grant_types: [], response_types: [] },
  ],
  scopes: ["openid", "offline_access", ...scopes.split(" ")],
  cookies: { keys: ["for this test only"] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  extraTokenClaims: (_, token) => ({ patient: token.accountId }),
  features: {
    devInteractions: { enabled: true },
    introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId === "api" },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: scopes, audience, accessTokenTTL: 600, accessTokenFormat: format, jwt: { sign: { alg: "RS256" } } }),
    },
  },
});
// An introspection says whose data the token opens, as the JWT does.
provider.use(async (ctx, next) => {
  await next();
  if (ctx.oidc?.route === "introspection" && ctx.body?.active) ctx.body.patient = ctx.body.sub;
});
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
