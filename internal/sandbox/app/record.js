// What the app reads, and what it makes of it: one record of a member, with claims as plain objects.

import {Problem, access, ask, refresh} from "./smart.js";

const pause = seconds => new Promise(done => setTimeout(done, seconds * 1000));

// get reads a URL of the API as JSON. A token that has expired is renewed once, and a busy server is asked again.
async function get(config, url) {
  let renewed = false;
  for (let tries = 0; ; tries++) {
    const response = await ask(url, {headers: {Accept: "application/fhir+json", Authorization: `Bearer ${await access(config)}`}});
    if (response.ok) return response.json();
    if (response.status === 401 && !renewed) {
      await refresh(config);
      renewed = true;
      continue;
    }
    if ((response.status === 429 || response.status === 503) && tries < 3) {
      await pause(Math.min(10, Number(response.headers.get("Retry-After")) || 1));
      continue;
    }
    let detail = `Status ${response.status}`;
    try {
      const issue = (await response.json()).issue[0];
      detail = issue.diagnostics ?? issue.details?.text ?? detail;
    } catch { /* the status says enough */ }
    if (response.status === 401) throw new Problem("ended", "Your plan no longer shares your data with this app.", detail);
    if (response.status === 403) throw new Problem("refused", "You did not share this.", detail);
    if (response.status === 404) throw new Problem("missing", "Your plan has no record of you here.", detail);
    throw new Problem("failed", "Your plan’s server could not answer.", detail);
  }
}

// search reads all pages of a search. It returns what matched and, apart, what was included.
async function search(config, query) {
  const matches = [], included = new Map();
  let url = `${config.fhir_base}/${query}`;
  while (url) {
    const bundle = await get(config, url);
    for (const {resource, search} of bundle.entry ?? []) {
      if (search?.mode === "include") included.set(`${resource.resourceType}/${resource.id}`, resource);
      else if (resource.resourceType !== "OperationOutcome") matches.push(resource);
    }
    url = bundle.link?.find(l => l.relation === "next")?.url;
  }
  return {matches, included};
}

// part is a part of the record that a member may have kept back: it is empty then, and says why.
async function part(read) {
  try {
    return await read();
  } catch (problem) {
    if (problem.kind !== "refused") throw problem;
    return {matches: [], included: new Map(), refused: true};
  }
}

// readRecord reads everything that the app shows: the Patient first, then coverages and claims.
export async function readRecord(config, patient, tell) {
  tell("Reading who you are");
  const person = await part(async () => ({matches: [await get(config, `${config.fhir_base}/Patient/${patient}`)], included: new Map()}));
  tell("Reading your coverages and claims");
  const includes = ["provider", "care-team", "insurer"].map(p => `&_include=ExplanationOfBenefit:${p}`).join("");
  const of = `ExplanationOfBenefit?patient=${patient}&_sort=-service-date&_count=50`;
  const [coverages, claims] = await Promise.all([
    part(async () => {
      try {
        return await search(config, `Coverage?patient=${patient}&_include=Coverage:payor`);
      } catch (problem) {
        if (problem.kind !== "refused") throw problem;
        return search(config, `Coverage?patient=${patient}`); // the payers were kept back
      }
    }),
    part(async () => {
      try {
        return await search(config, of + includes);
      } catch (problem) {
        if (problem.kind !== "refused") throw problem;
        return search(config, of); // the providers were kept back
      }
    }),
  ]);
  const others = new Map([...coverages.included, ...claims.included]);
  return {
    id: patient,
    person: person.matches[0] ?? null,
    coverages: coverages.matches.sort((a, b) => (b.period?.start ?? "").localeCompare(a.period?.start ?? "")),
    coveragesRefused: Boolean(coverages.refused),
    claims: claims.matches.map(claim).sort((a, b) => b.date.localeCompare(a.date)),
    claimsRefused: Boolean(claims.refused),
    others,
    named: reference => nameOf(others.get(reference?.reference)) || reference?.display || "",
  };
}

// nameOf is the name of an Organization, or of a person.
export function nameOf(resource) {
  if (!resource) return "";
  if (typeof resource.name === "string") return resource.name;
  const name = resource.name?.[0];
  if (!name) return "";
  return name.text ?? [...(name.prefix ?? []), ...(name.given ?? []), name.family, ...(name.suffix ?? [])].filter(Boolean).join(" ");
}

export const kinds = {
  inpatient: "Hospital stay", outpatient: "Outpatient care", professional: "Doctor visit", pharmacy: "Pharmacy", oral: "Dentist", vision: "Vision", other: "Other",
};

const codes = concept => (concept?.coding ?? []).map(c => c.code);

// textOf is what a person can read of a CodeableConcept: its text, or its code.
export const textOf = concept => concept?.text ?? concept?.coding?.find(c => c.display)?.display ?? codes(concept)[0] ?? "";

// cents reads an amount. Adding cents does not lose any, as adding dollars would.
const cents = money => Math.round((money?.value ?? 0) * 100);

// amounts sums adjudications or totals by what they are.
function amounts(list) {
  const by = {};
  for (const a of list ?? []) {
    if (!a.amount) continue;
    const code = codes(a.category)[0];
    by[code] = (by[code] ?? 0) + cents(a.amount);
  }
  const owed = by.memberliability ?? (by.deductible ?? 0) + (by.coinsurance ?? 0) + (by.copay ?? 0);
  return {
    billed: by.submitted ?? 0, allowed: by.eligible ?? 0, paid: by.benefit ?? (by.paidtoprovider ?? 0) + (by.paidtopatient ?? 0), owed,
    refused: by.noncovered ?? 0, saved: by.discount ?? 0, other: by.priorpayerpaid ?? 0,
    parts: {deductible: by.deductible ?? 0, coinsurance: by.coinsurance ?? 0, copay: by.copay ?? 0},
  };
}

export function add(a, b) {
  const sum = {};
  for (const key of ["billed", "allowed", "paid", "owed", "refused", "saved", "other"]) sum[key] = (a[key] ?? 0) + (b[key] ?? 0);
  return sum;
}

const info = (eob, category) => eob.supportingInfo?.find(s => codes(s.category).includes(category));

// claim is an ExplanationOfBenefit as the app shows it.
function claim(eob) {
  const type = codes(eob.type)[0] ?? "other", kind = type === "institutional" ? codes(eob.subType)[0] ?? "other" : type;
  const items = (eob.item ?? []).map(item => ({
    number: item.sequence, text: textOf(item.productOrService), code: codes(item.productOrService)[0] ?? "", revenue: codes(item.revenue)[0] ?? "",
    date: item.servicedDate ?? item.servicedPeriod?.start ?? "", quantity: item.quantity, ...amounts(item.adjudication),
    tooth: codes(item.bodySite)[0] ?? "",
    reasons: (item.adjudication ?? []).filter(a => codes(a.category).some(c => c === "adjustmentreason" || c === "rejectreason")).flatMap(a => codes(a.reason)),
  }));
  const total = eob.total?.length ? amounts(eob.total) : items.reduce(add, {});
  const payment = codes(eob.payment?.type)[0] ?? "";
  const related = kind => eob.related?.find(r => codes(r.relationship).includes(kind))?.reference?.value ?? "";
  const replaced = related("replacedby");
  let state = {paid: "Paid", denied: "Denied", partiallypaid: "Partly paid"}[payment] ?? (eob.outcome === "complete" ? "Processed" : "In process");
  if (eob.status !== "active") state = replaced ? "Replaced" : "Taken back";
  return {
    id: eob.id, eob, kind: kinds[kind] ? kind : "other", items, ...total, state, counts: eob.status === "active",
    date: eob.billablePeriod?.start ?? items.map(i => i.date).sort()[0] ?? eob.created ?? "", end: eob.billablePeriod?.end ?? "",
    number: eob.identifier?.map(i => i.value) ?? [], replaces: related("prior"), replaced,
    supply: info(eob, "dayssupply")?.valueQuantity?.value ?? 0, refill: info(eob, "refillnum")?.valueQuantity?.value ?? 0,
    diagnoses: (eob.diagnosis ?? []).map(d => ({text: textOf(d.diagnosisCodeableConcept), code: codes(d.diagnosisCodeableConcept)[0] ?? "", type: textOf(d.type?.[0])})),
    notes: (eob.processNote ?? []).map(n => n.text),
    title: items[0]?.text || kinds[kind] || "Claim",
  };
}

// Roles of a care team, as people say them.
export const roles = {
  primary: "Primary care", rendering: "Treated you", attending: "In charge of your care", operating: "Operated", prescribing: "Prescribed", referring: "Referred you",
  supervisor: "Supervised", otheroperating: "Assisted", purchasedservice: "Provided a service",
};

// providers lists who appears in the claims, with how often, in which roles and when last.
export function providers(record) {
  const found = new Map();
  const note = (reference, role, claim) => {
    const resource = record.others.get(reference?.reference);
    if (!resource) return;
    const entry = found.get(reference.reference) ?? {resource, name: nameOf(resource), roles: new Set(), claims: new Set(), last: ""};
    entry.roles.add(role);
    entry.claims.add(claim.id);
    if (claim.date > entry.last) entry.last = claim.date;
    found.set(reference.reference, entry);
  };
  for (const c of record.claims) {
    note(c.eob.provider, "Billed your plan", c);
    for (const member of c.eob.careTeam ?? []) note(member.provider, roles[codes(member.role)[0]] ?? textOf(member.role), c);
  }
  return [...found.values()].sort((a, b) => b.claims.size - a.claims.size || a.name.localeCompare(b.name));
}

// medicines groups fills that count by drug, the ones that are still taken first.
export function medicines(record) {
  const found = new Map();
  for (const c of record.claims) {
    if (c.kind !== "pharmacy") continue;
    for (const item of c.items) {
      const key = item.code || item.text;
      const entry = found.get(key) ?? {name: item.text, code: item.code, fills: [], until: ""};
      entry.fills.push({claim: c, item});
      if (c.counts && c.state !== "Denied" && c.supply) {
        const end = new Date(`${c.date}T00:00:00Z`);
        end.setUTCDate(end.getUTCDate() + c.supply);
        const until = end.toISOString().slice(0, 10);
        if (until > entry.until) entry.until = until;
      }
      found.set(key, entry);
    }
  }
  return [...found.values()].sort((a, b) => b.until.localeCompare(a.until));
}
