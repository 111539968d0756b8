// Reads a member's claims with fhir-kit-client, page by page, and prints what it got.
//
//     node kit.mjs BASE PATIENT
import { Client } from 'fhir-kit-client';

const [base, patient] = process.argv.slice(2);
const client = new Client({ baseUrl: base });
const statement = await client.capabilityStatement();
const read = await client.read({ resourceType: 'Patient', id: patient });
const ids = [], includes = new Set();
let page = await client.search({
  resourceType: 'ExplanationOfBenefit',
  searchParams: { patient, _count: 3, _include: ['ExplanationOfBenefit:insurer', 'ExplanationOfBenefit:coverage'] },
});
let pages = 0;
while (page) {
  pages++;
  for (const e of page.entry ?? []) {
    if (e.search.mode === 'match') ids.push(e.resource.id);
    else includes.add(`${e.resource.resourceType}/${e.resource.id}`);
  }
  page = await client.nextPage({ bundle: page });
}
const posted = await client.search({
  resourceType: 'Coverage', searchParams: { beneficiary: patient }, options: { postSearch: true },
});
let status = 0;
try {
  await client.read({ resourceType: 'Patient', id: 'nobody' });
} catch (e) {
  status = e.response?.status ?? 0;
}
console.log(JSON.stringify({
  fhirVersion: statement.fhirVersion, read: read.id, ids, includes: [...includes].sort(), pages,
  coverages: (posted.entry ?? []).map((e) => e.resource.id), missing: status,
}));
