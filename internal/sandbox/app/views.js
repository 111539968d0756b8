// The views of the app. Each takes the record and returns its title and elements.

import {day, h, many, money, month, raw, roundMoney, svg, table, today} from "./elements.js";
import {costBar, costBars} from "./plot.js";
import {add, kinds, medicines, nameOf, providers, roles, textOf} from "./record.js";

// Drawings of the kinds of claims, on a grid of 24.
const marks = {
  inpatient: "M4 5v14M4 15h16v4M20 15v-2a3 3 0 0 0-3-3h-7v5M7 11.5a1.5 1.5 0 1 0 0-.1",
  outpatient: "M4 20V8l8-4 8 4v12zM12 10v6M9 13h6",
  professional: "M6 4v5a4 4 0 0 0 8 0V4M10 13v2a4 4 0 0 0 8 0v-2M18 13a1.6 1.6 0 1 0 0-.1",
  pharmacy: "M8.5 20a4.6 4.6 0 0 1-3.2-7.8l7-7a4.6 4.6 0 0 1 6.5 6.5l-7 7A4.6 4.6 0 0 1 8.500 20M9 8.500l6.500 6.500",
  oral: "M7 4c2 0 3 1 5 1s3-1 5-1c3 0 4 3 3 7-.7 3-1.300 9-3.500 9S14.500 14 12 14s-2.300 6-4.500 6S4.700 14 4 11c-1-4 0-7 3-7",
  vision: "M2.500 12S6 6 12 6s9.500 6 9.500 6-3.500 6-9.500 6-9.500-6-9.500-6M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6",
  other: "M6 4h12v16l-3-2-3 2-3-2-3 2zM9 9h6M9 13h6",
};

const mark = kind => h("span", {class: `kind-mark kind-${kind}`, "aria-hidden": "true"}, svg("svg", {viewBox: "0 0 24 24", width: "22", height: "22"}, svg("path", {d: marks[kind]})));

const badge = claim => h("span", {class: `badge badge-${claim.state.toLowerCase().replaceAll(" ", "-")}`}, claim.state);

const empty = (title, text) => h("div", {class: "card empty"}, h("h2", {}, title), h("p", {}, text));

const link = claim => `#/claims/${claim.id}`;

const year = claim => claim.date.slice(0, 4);

// heading is the head of a view.
const heading = (title, text) => [h("h1", {tabindex: "-1"}, title), text && h("p", {class: "lead"}, text)];

// sumOf adds claims that count.
const sumOf = claims => claims.filter(c => c.counts).reduce(add, add({}, {}));

const nothing = record => record.claimsRefused
  ? empty("You did not share your claims", "Sign out and in again if you want to see them here.")
  : empty("No claims yet", "When a doctor, a pharmacy or a hospital bills your plan, the claim appears here. That can take a few weeks.");

function claimRow(record, claim) {
  const by = record.named(claim.eob.provider);
  return h("li", {class: claim.counts ? "claim-row" : "claim-row claim-void"},
    h("a", {href: link(claim), class: "claim-link"},
      mark(claim.kind),
      h("span", {class: "claim-what"},
        h("span", {class: "claim-title"}, claim.title),
        h("span", {class: "claim-by"}, [kinds[claim.kind], by].filter(Boolean).join(" · "))),
      h("span", {class: "claim-when"}, h("time", {datetime: claim.date}, day(claim.date)), badge(claim)),
      h("span", {class: "claim-owed"}, h("span", {class: "visually-hidden"}, "You owe "), claim.counts ? money(claim.owed) : "–")));
}

export function overview(record) {
  const first = record.person?.name?.[0]?.given?.[0], now = today();
  const latest = record.claims.find(c => c.counts), thisYear = latest ? year(latest) : now.slice(0, 4);
  const sum = sumOf(record.claims.filter(c => year(c) === thisYear));
  const active = record.coverages.find(c => c.status === "active");
  const refused = record.claims.filter(c => c.counts && (c.state === "Denied" || c.state === "Partly paid")).slice(0, 3);
  const taken = medicines(record).filter(m => m.until >= now).slice(0, 3);
  return {
    title: "Overview",
    body: [
      ...heading(first ? `Hello, ${first}` : "Hello", record.claims.length
        ? `${many(record.claims.length, "claim")} since ${month(record.claims.at(-1).date)}, read from your plan just now.` : ""),
      !record.claims.length && nothing(record),
      record.claims.length > 0 && h("section", {class: "card hero", "aria-labelledby": "year-title"},
        h("h2", {id: "year-title"}, `Your ${thisYear} so far`),
        h("dl", {class: "figures"},
          h("div", {}, h("dt", {}, "Billed"), h("dd", {}, roundMoney(sum.billed))),
          h("div", {}, h("dt", {}, "Your plan paid"), h("dd", {}, roundMoney(sum.paid))),
          h("div", {class: "figure-owed"}, h("dt", {}, "You owe"), h("dd", {}, money(sum.owed)))),
        costBar({name: thisYear, ...sum}),
        h("p", {}, h("a", {href: "#/costs"}, "All costs, by year and kind"))),
      h("div", {class: "columns"},
        active && h("section", {class: "card coverage-card", "aria-labelledby": "coverage-title"},
          h("h2", {id: "coverage-title"}, "Your coverage"),
          h("p", {class: "coverage-name"}, record.named(active.payor?.[0]) || "Your plan"),
          h("p", {class: "quiet"}, planName(active), active.period?.start && ` · since ${day(active.period.start)}`),
          h("p", {}, h("a", {href: "#/coverage"}, "Coverage and personal details"))),
        taken.length > 0 && h("section", {class: "card", "aria-labelledby": "taken-title"},
          h("h2", {id: "taken-title"}, "Your medicines"),
          h("ul", {class: "plain-list"}, taken.map(m => h("li", {}, h("strong", {}, m.name), h("br"), h("span", {class: "quiet"}, `supply until about ${day(m.until)}`)))),
          h("p", {}, h("a", {href: "#/medicines"}, "All medicines")))),
      refused.length > 0 && h("section", {class: "card", "aria-labelledby": "refused-title"},
        h("h2", {id: "refused-title"}, "Worth a look"),
        h("ul", {class: "plain-list"}, refused.map(c => h("li", {}, h("a", {href: link(c)}, refusedTitle(c)), ` ${day(c.date)}. `, h("span", {class: "quiet"}, c.notes[0] ?? "Your plan did not pay all of it."))))),
      record.claims.length > 0 && h("section", {"aria-labelledby": "latest-title"},
        h("h2", {id: "latest-title"}, "Latest claims"),
        h("ul", {class: "claim-list"}, record.claims.slice(0, 5).map(c => claimRow(record, c))),
        h("p", {}, h("a", {href: "#/claims"}, "All claims"))),
    ],
  };
}

const refusedTitle = claim => claim.items.find(i => i.refused > 0)?.text || claim.title;

function planName(coverage) {
  const plan = coverage.class?.find(c => c.type?.coding?.some(x => x.code === "plan"));
  return plan?.name ?? plan?.value ?? textOf(coverage.type);
}

// timeline lists claims by month. Filters are in the address, so that Back works.
export function timeline(record, query) {
  const kind = query.get("kind") ?? "", when = query.get("year") ?? "";
  const shown = record.claims.filter(c => (!kind || c.kind === kind) && (!when || year(c) === when));
  const months = Map.groupBy ? Map.groupBy(shown, c => c.date.slice(0, 7)) : shown.reduce((m, c) => m.set(c.date.slice(0, 7), [...(m.get(c.date.slice(0, 7)) ?? []), c]), new Map());
  const choose = (name, label, values, value) => h("label", {class: "filter"}, label,
    h("select", {name, onchange: e => {
      const next = new URLSearchParams(query);
      if (e.target.value) next.set(name, e.target.value);
      else next.delete(name);
      location.hash = `#/claims${next.size ? `?${next}` : ""}`;
    }}, h("option", {value: ""}, "All"), values.map(([v, text]) => h("option", {value: v, selected: v === value}, text))));
  const has = new Set(record.claims.map(c => c.kind));
  return {
    title: "Claims",
    status: `${many(shown.length, "claim")} shown`,
    keepFocus: true,
    body: [
      ...heading("Claims"),
      record.claims.length === 0 ? nothing(record) : [
        h("div", {class: "filters", role: "group", "aria-label": "Choose claims"},
          choose("kind", "Kind", Object.entries(kinds).filter(([k]) => has.has(k)), kind),
          choose("year", "Year", [...new Set(record.claims.map(year))].map(y => [y, y]), when),
          h("p", {class: "quiet"}, `${many(shown.length, "claim")}, you owe ${money(sumOf(shown).owed)}`)),
        shown.length === 0 && h("p", {}, "No claims are of this kind and year."),
        [...months].map(([m, claims]) => h("section", {class: "month", "aria-labelledby": `month-${m}`},
          h("h2", {id: `month-${m}`}, month(m)),
          h("ul", {class: "claim-list"}, claims.map(c => claimRow(record, c))))),
      ],
      raw("the claims that are shown", shown.map(c => c.eob)),
    ],
  };
}

export function oneClaim(record, id) {
  const claim = record.claims.find(c => c.id === id);
  if (!claim) return {title: "Claim", body: [...heading("There is no such claim"), h("p", {}, h("a", {href: "#/claims"}, "All claims"))]};
  const other = number => number && record.claims.find(c => c.number.includes(number));
  const next = other(claim.replaced), earlier = other(claim.replaces);
  const fact = (name, value) => value && h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const until = claim.end && claim.end !== claim.date ? ` to ${day(claim.end)}` : "";
  const owedParts = Object.entries(claim.parts ?? {}).filter(([, cents]) => cents > 0).map(([name, cents]) => `${name} ${money(cents)}`).join(", ");
  const team = (claim.eob.careTeam ?? []).map(m => [record.named(m.provider), roles[m.role?.coding?.[0]?.code] ?? textOf(m.role)]).filter(([name]) => name);
  return {
    title: claim.title,
    body: [
      h("p", {}, h("a", {href: "#/claims", class: "back-link"}, "All claims")),
      h("div", {class: "claim-head"}, mark(claim.kind), h("div", {}, ...heading(claim.title), h("p", {class: "lead"}, `${kinds[claim.kind]} · ${day(claim.date)}${until} `, badge(claim)))),
      next && h("p", {class: "notice"}, "This claim was corrected and no longer counts. ", h("a", {href: link(next)}, "See the claim that replaced it"), "."),
      !next && !claim.counts && h("p", {class: "notice"}, "This claim was taken back and no longer counts."),
      earlier && h("p", {class: "notice"}, "This claim corrects an earlier one. ", h("a", {href: link(earlier)}, "See the earlier claim"), "."),
      h("div", {class: "beside"},
        h("div", {},
          h("section", {class: "card", "aria-labelledby": "cost-title"},
            h("h2", {id: "cost-title"}, claim.counts ? "What it cost" : "What this claim said"),
            h("dl", {class: "figures"},
              fact("Billed", money(claim.billed)), fact("Allowed by your plan", money(claim.allowed)), fact("Your plan paid", money(claim.paid)),
              h("div", {class: "figure-owed"}, h("dt", {}, "You owe"), h("dd", {}, claim.counts ? money(claim.owed) : "Nothing"))),
            costBar({name: "This claim", ...claim}),
            claim.counts && owedParts && h("p", {class: "quiet"}, `What you owe is made of: ${owedParts}.`),
            claim.notes.length > 0 && h("ul", {class: "notes"}, claim.notes.map(n => h("li", {}, n)))),
          h("section", {class: "card", "aria-labelledby": "lines-title"},
            h("h2", {id: "lines-title"}, "What was done"),
            table("Lines of the claim", [["Service"], ["Date"], ["Billed", true], ["Allowed", true], ["Plan paid", true], ["You owe", true]],
              claim.items.map(i => [
                [i.text, h("span", {class: "code"}, [i.code && i.code !== "not-applicable" && i.code, i.revenue && `revenue ${i.revenue}`, i.tooth && `tooth ${i.tooth}`].filter(Boolean).join(" · ")),
                  i.refused > 0 && h("span", {class: "line-refused"}, `Not covered: ${money(i.refused)}${i.reasons.length ? ` (reason ${i.reasons.join(", ")})` : ""}`)],
                day(i.date), money(i.billed), money(i.allowed), money(i.paid), money(i.owed)]),
              ["All lines", "", money(claim.billed), money(claim.allowed), money(claim.paid), money(claim.owed)])),
          h("section", {class: "card", "aria-labelledby": "facts-title"},
            h("h2", {id: "facts-title"}, "Who and why"),
            h("dl", {class: "facts"},
              fact("Billed by", record.named(claim.eob.provider)),
              fact("Paid by", record.named(claim.eob.insurer)),
              team.length > 0 && fact("Care team", h("ul", {class: "plain-list"}, team.map(([name, role]) => h("li", {}, name, h("span", {class: "quiet"}, ` ${role}`))))),
              claim.diagnoses.length > 0 && fact(claim.diagnoses.length > 1 ? "Diagnoses" : "Diagnosis", h("ul", {class: "plain-list"}, claim.diagnoses.map(d => h("li", {}, d.text, h("span", {class: "code"}, d.code))))),
              claim.supply > 0 && fact("Supply", `${many(claim.supply, "day")}${claim.refill ? `, refill ${claim.refill}` : ""}`),
              fact("Decided", day(claim.eob.created)), fact("Paid on", day(claim.eob.payment?.date)),
              fact("Claim number", claim.number.at(-1))))),
        h("div", {class: "beside-json"}, raw("this claim", claim.eob, matchMedia("(min-width: 70rem)").matches))),
    ],
  };
}

export function costs(record, query) {
  const by = query.get("by") === "kind" ? "kind" : "year";
  const counted = record.claims.filter(c => c.counts);
  const names = by === "year" ? [...new Set(counted.map(year))] : Object.keys(kinds).filter(k => counted.some(c => c.kind === k));
  const rows = names.map(n => ({name: by === "year" ? n : kinds[n], ...sumOf(counted.filter(c => (by === "year" ? year(c) : c.kind) === n))}));
  const all = sumOf(counted), choice = (value, text) => h("a", {href: `#/costs?by=${value}`, class: "choice", "aria-current": by === value ? "true" : false}, text);
  const title = `Costs by ${by}`;
  return {
    title: "Costs",
    keepFocus: true,
    body: [
      ...heading("Costs", counted.length ? "What was billed, and who pays it. Claims that were replaced or taken back are left out." : ""),
      counted.length === 0 ? nothing(record) : [
        h("div", {class: "choices", role: "group", "aria-label": "Group costs"}, choice("year", "By year"), choice("kind", "By kind")),
        h("section", {class: "card", "aria-labelledby": "plot-title"}, h("h2", {id: "plot-title"}, title), costBars(rows, title)),
        h("section", {class: "card", "aria-labelledby": "table-title"}, h("h2", {id: "table-title"}, "The same in numbers"),
          table(title, [[by === "year" ? "Year" : "Kind"], ["Claims", true], ["Billed", true], ["Allowed", true], ["Plan paid", true], ["You owe", true], ["Not covered", true]],
            rows.map((r, i) => [r.name, String(counted.filter(c => (by === "year" ? year(c) : c.kind) === names[i]).length), money(r.billed), money(r.allowed), money(r.paid), money(r.owed), money(r.refused)]),
            ["All", String(counted.length), money(all.billed), money(all.allowed), money(all.paid), money(all.owed), money(all.refused)])),
        h("p", {class: "quiet"}, "“Allowed” is the price that your plan agreed on. “Discount” is what nobody has to pay. “Not covered” is what your plan refused; ask before you pay it."),
        raw("the claims behind these costs", counted.map(c => c.eob)),
      ],
    ],
  };
}

export function medicinesView(record) {
  const list = medicines(record), now = today();
  return {
    title: "Medicines",
    body: [
      ...heading("Medicines", list.length ? "From the claims of your pharmacies. What you paid for without your plan is not here." : ""),
      list.length === 0 && empty("No medicines", record.claimsRefused ? "You did not share your claims." : "Your plan has no claims of a pharmacy for you."),
      list.map((m, n) => h("section", {class: "card medicine", "aria-labelledby": `medicine-${n}`},
        h("div", {class: "card-head"}, h("h2", {id: `medicine-${n}`}, m.name),
          m.until >= now ? h("span", {class: "badge badge-paid"}, `Supply until about ${day(m.until)}`) : m.until && h("span", {class: "badge"}, `Supply ended ${day(m.until)}`)),
        h("p", {class: "code"}, `NDC ${m.code}`),
        table(`Fills of ${m.name}`, [["Date"], ["Supply"], ["Quantity"], ["Pharmacy"], ["Price", true], ["You owe", true], ["State"]],
          m.fills.map(({claim, item}) => [h("a", {href: link(claim)}, day(claim.date)), claim.supply ? many(claim.supply, "day") : "", [item.quantity?.value, units[item.quantity?.unit] ?? item.quantity?.unit].filter(Boolean).join(" "),
            record.named(claim.eob.provider), money(item.allowed || item.billed), claim.counts ? money(item.owed) : "–", badge(claim)])),
        raw(`the claims for ${m.name}`, m.fills.map(f => f.claim.eob)))),
    ],
  };
}

const units = {UN: "units", GR: "g", ML: "ml", F2: "IU", EA: "units"};

export function providersView(record) {
  const list = providers(record);
  const groups = [["Practitioner", "People"], ["Organization", "Places"]];
  const phone = r => r.telecom?.find(t => t.value)?.value;
  const address = r => { const a = r.address?.[0]; return a && (a.text ?? [...(a.line ?? []), a.city, [a.state, a.postalCode].filter(Boolean).join(" ")].filter(Boolean).join(", ")); };
  return {
    title: "Providers",
    body: [
      ...heading("Providers", list.length ? "Everybody who treated you or billed your plan." : ""),
      list.length === 0 && empty("No providers", record.claims.length ? "You did not share who treated you." : "They appear here with your first claim."),
      groups.map(([type, name]) => {
        const of = list.filter(p => p.resource.resourceType === type);
        return of.length > 0 && h("section", {"aria-labelledby": `group-${type}`}, h("h2", {id: `group-${type}`}, name),
          h("ul", {class: "provider-list"}, of.map(p => h("li", {class: "card"},
            h("h3", {}, p.name || "Without a name"),
            h("p", {}, [...p.roles].join(" · ")),
            h("p", {class: "quiet"}, `${many(p.claims.size, "claim")}, last on ${day(p.last)}`),
            address(p.resource) && h("p", {class: "quiet"}, address(p.resource)),
            phone(p.resource) && h("p", {}, h("a", {href: `tel:${phone(p.resource)}`}, phone(p.resource))),
            raw(p.name, p.resource)))));
      }),
    ],
  };
}

export function coverageView(record) {
  const person = record.person, a = person?.address?.[0];
  const fact = (name, value) => value && h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return {
    title: "Coverage",
    body: [
      ...heading("Coverage and you"),
      person ? h("section", {class: "card", "aria-labelledby": "person-title"},
        h("h2", {id: "person-title"}, nameOf(person)),
        h("dl", {class: "facts"}, fact("Born", day(person.birthDate)), fact("Gender", person.gender),
          fact("Address", a && [...(a.line ?? []), a.city, a.state, a.postalCode].filter(Boolean).join(", ")),
          fact("Member number", person.identifier?.find(i => i.type?.coding?.some(c => c.code === "MB"))?.value)),
        raw("you", person)) : empty("You did not share who you are", "The app shows your claims without your name."),
      record.coveragesRefused && empty("You did not share your coverages", "Sign out and in again if you want to see them here."),
      !record.coveragesRefused && record.coverages.length === 0 && empty("No coverage", "Your plan has no coverage of yours on record."),
      record.coverages.map((c, n) => h("section", {class: "card", "aria-labelledby": `coverage-${n}`},
        h("div", {class: "card-head"}, h("h2", {id: `coverage-${n}`}, record.named(c.payor?.[0]) || "A plan"),
          h("span", {class: `badge ${c.status === "active" ? "badge-paid" : ""}`}, c.status === "active" ? "Active" : "Ended")),
        h("dl", {class: "facts"}, fact("Plan", planName(c)), fact("From", day(c.period?.start)), fact("Until", day(c.period?.end)),
          fact("Subscriber number", c.subscriberId), fact("You are", {self: "the subscriber", child: "a child of the subscriber", spouse: "the spouse of the subscriber"}[c.relationship?.coding?.[0]?.code] ?? textOf(c.relationship))),
        raw("this coverage", [c, record.others.get(c.payor?.[0]?.reference)]))),
    ],
  };
}
