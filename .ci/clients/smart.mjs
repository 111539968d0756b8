// Reads a member's claims with SMART's fhirclient, which follows pages and references by itself.
//
//     node smart.mjs BASE PATIENT
import FHIR from 'fhirclient';

const [base, patient] = process.argv.slice(2);
// Outside of a browser it wants the request that it serves.
const client = FHIR({ headers: {}, url: '/', method: 'GET' }, {}).client({ serverUrl: base });
const read = await client.request(`Patient/${patient}`);
const claims = await client.request(`ExplanationOfBenefit?patient=${patient}&_count=4`, { flat: true, pageLimit: 0 });
let resolved = [];
if (claims.length > 0) {
  const first = await client.request(`ExplanationOfBenefit/${claims[0].id}`, { resolveReferences: ['patient', 'insurer'], graph: true });
  resolved = [first.patient.id, first.insurer.id];
}
const coverages = await client.request(`Coverage?patient=${patient}`, { flat: true, pageLimit: 0 });
let status = 0;
try {
  await client.request('Patient/nobody');
} catch (e) {
  status = e.statusCode ?? e.status ?? e.response?.status ?? 0;
}
console.log(JSON.stringify({
  fhirVersion: '4.0.1', read: read.id, ids: claims.map((c) => c.id), coverages: coverages.map((c) => c.id),
  resolved, missing: status,
}));
