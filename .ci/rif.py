#!/usr/bin/env python3
"""Loads Medicare RIF files and compares every loaded claim with the columns of the files,
without using the product's layout: members, coverages, claim numbers, dates, diagnoses,
procedures, services, drugs, providers and amounts.

Some data is missing or invalid in the files: most lines of carrier claims have no service
code, and the static samples have invalid codes and numbers. The files are therefore loaded
twice: once as they are, where a claim that is not loaded must lack something that the guide
requires, and once with the missing data filled in, so that claims of all kinds can be
compared."""
import collections
import csv
import datetime
import glob
import json
import os
import shutil
import subprocess
import sys
from decimal import Decimal

program, data, work = sys.argv[1:4]
compared = collections.Counter()
failures = 0

# The kinds of files, each identified by a column that only it has.
KINDS = {"CLM_TOT_PPS_CPTL_AMT": "inpatient", "NCH_QLFYD_STAY_FROM_DT": "snf", "CLM_OP_PRVDR_PMT_AMT": "outpatient",
         "CLM_HHA_TOT_VISIT_CNT": "hha", "CLM_HOSPC_START_DT_ID": "hospice", "PRF_PHYSN_NPI": "carrier",
         "DMERC_LINE_MTUS_CNT": "dme", "PROD_SRVC_ID": "pde", "RFRNC_YR": "beneficiary"}
PROFILE = {"inpatient": "Inpatient-Institutional", "snf": "Inpatient-Institutional", "outpatient": "Outpatient-Institutional",
           "hha": "Outpatient-Institutional", "hospice": "Outpatient-Institutional", "carrier": "Professional-NonClinician",
           "dme": "Professional-NonClinician", "pde": "Pharmacy"}
INSTITUTIONAL = ("inpatient", "snf", "outpatient", "hha", "hospice")

# The columns with amounts of a claim and of a line, and the guide's category for each.
OF_CLAIM = {"CLM_TOT_CHRG_AMT": "submitted", "CLM_PMT_AMT": "benefit", "NCH_PRMRY_PYR_CLM_PD_AMT": "priorpayerpaid",
            "NCH_BENE_IP_DDCTBL_AMT": "deductible", "NCH_BENE_PTA_COINSRNC_LBLTY_AM": "coinsurance",
            "NCH_IP_NCVRD_CHRG_AMT": "noncovered", "NCH_BENE_PTB_DDCTBL_AMT": "deductible",
            "NCH_BENE_PTB_COINSRNC_AMT": "coinsurance", "CLM_OP_PRVDR_PMT_AMT": "paidtoprovider",
            "CLM_OP_BENE_PMT_AMT": "paidtopatient", "NCH_CARR_CLM_SBMTD_CHRG_AMT": "submitted",
            "NCH_CARR_CLM_ALOWD_AMT": "eligible", "CARR_CLM_PRMRY_PYR_PD_AMT": "priorpayerpaid",
            "CARR_CLM_CASH_DDCTBL_APLD_AMT": "deductible", "NCH_CLM_PRVDR_PMT_AMT": "paidtoprovider",
            "NCH_CLM_BENE_PMT_AMT": "paidtopatient"}
OF_LINE = {"REV_CNTR_TOT_CHRG_AMT": "submitted", "REV_CNTR_NCVRD_CHRG_AMT": "noncovered", "REV_CNTR_PMT_AMT_AMT": "benefit",
           "REV_CNTR_PRVDR_PMT_AMT": "paidtoprovider", "REV_CNTR_BENE_PMT_AMT": "paidtopatient",
           "REV_CNTR_CASH_DDCTBL_AMT": "deductible", "REV_CNTR_COINSRNC_WGE_ADJSTD_C": "coinsurance",
           "REV_CNTR_PTNT_RSPNSBLTY_PMT": "memberliability", "REV_CNTR_1ST_MSP_PD_AMT": "priorpayerpaid",
           "REV_CNTR_2ND_MSP_PD_AMT": "priorpayerpaid",
           "LINE_SBMTD_CHRG_AMT": "submitted", "LINE_ALOWD_CHRG_AMT": "eligible", "LINE_NCH_PMT_AMT": "benefit",
           "LINE_PRVDR_PMT_AMT": "paidtoprovider", "LINE_BENE_PMT_AMT": "paidtopatient", "LINE_BENE_PTB_DDCTBL_AMT": "deductible",
           "LINE_COINSRNC_AMT": "coinsurance", "LINE_BENE_PRMRY_PYR_PD_AMT": "priorpayerpaid",
           "TOT_RX_CST_AMT": "drugcost", "CVRD_D_PLAN_PD_AMT": "benefit", "PTNT_PAY_AMT": "paidbypatient", "PLRO_AMT": "priorpayerpaid"}
NO_NPI = "0000000000"
NPIS = ("ORG_NPI_NUM", "AT_PHYSN_NPI", "OP_PHYSN_NPI", "OT_PHYSN_NPI", "RNDRNG_PHYSN_NPI", "PRF_PHYSN_NPI", "RFR_PHYSN_NPI",
        "CARR_CLM_BLG_NPI_NUM", "PRVDR_NPI", "PRSCRBR_ID")
MODIFIERS = ("HCPCS_1ST_MDFR_CD", "HCPCS_2ND_MDFR_CD", "HCPCS_3RD_MDFR_CD", "HCPCS_4TH_MDFR_CD")


def same(what, where, want, got):
    global failures
    compared[what] += 1
    if want != got:
        failures += 1
        if failures <= 40:
            print(f"DIFFERENT {where}: {what}: the file has {want!r}, the resource has {got!r}")


def check(ok, what):
    global failures
    if not ok:
        failures += 1
        print("FAILED", what)


def day(text):
    return datetime.datetime.strptime(text.title(), "%d-%b-%Y").strftime("%Y-%m-%d") if text else None


def luhn(npi):
    if len(npi) != 10 or not npi.isdigit():
        return False
    digits = [int(d) * (2 - i % 2) for i, d in enumerate(npi)]
    return (24 + sum(d // 10 + d % 10 for d in digits)) % 10 == 0


def with_zeros(text):
    """The code with the leading zeros that only anesthesia codes have, 00100 to 01999."""
    return text.zfill(5) if text.isdigit() and 100 <= int(text) <= 1999 and len(text) in (3, 4) else text


def is_service(text):
    return len(text) == 5 and text.isalnum()


def rows_of(file):
    with open(file, encoding="utf-8-sig", newline="") as f:
        return [{k: (v or "").strip() for k, v in r.items() if k} for r in csv.DictReader(f, delimiter="|", quoting=csv.QUOTE_NONE)]


def kind_of(rows):
    return next((kind for column, kind in KINDS.items() if rows and column in rows[0]), None)


def read(files):
    """Returns the claims by kind and number, and the members of the latest year by number."""
    claims, members = collections.OrderedDict(), {}
    for file in files:
        rows = rows_of(file)
        kind = kind_of(rows)
        for r in rows:
            if kind == "beneficiary":
                old = members.get(r["BENE_ID"])
                if old is None or r["RFRNC_YR"] > old["RFRNC_YR"]:
                    members[r["BENE_ID"]] = r
            elif kind:
                claims.setdefault((kind, r.get("CLM_ID") or r["PDE_ID"]), []).append(r)
    return claims, members


class Output:
    def __init__(self, folder):
        self.by_name = {}
        for file in glob.glob(folder + "/[A-Z]*/*.ndjson"):
            for line in open(file, "rb"):
                r = json.loads(line, parse_float=Decimal, parse_int=Decimal)
                self.by_name[r["resourceType"] + "/" + r["id"]] = r
        self.claims = {}
        for r in self.by_name.values():
            if r["resourceType"] == "ExplanationOfBenefit":
                pharmacy = code(r["type"]) == "pharmacy"
                number = next(i["value"] for i in r["identifier"] if i["system"].endswith("/clm_id"))
                self.claims[pharmacy, number] = r

    def get(self, reference):
        return self.by_name[reference["reference"]]

    def identifier(self, reference, system):
        return next((i["value"] for i in self.get(reference)["identifier"] if i["system"] == system), None)


def code(concept, system=None):
    return next((c["code"] for c in (concept or {}).get("coding", []) if system in (None, c["system"])), None)


def pointless(concept):
    """The code without its decimal point, and 9 or 0 for the revision. The position of the
    point is compared separately."""
    c = concept["coding"][0]
    revision = "9" if "icd-9" in c["system"] else "0"
    return c["code"].replace(".", ""), revision


def point_is_right(concept):
    c = concept["coding"][0]
    before = len(c["code"].split(".")[0])
    if "icd-9" in c["system"]:
        return "." not in c["code"] or before == (4 if c["code"][0] == "E" else 3)
    return len(c["code"]) == 3 if "." not in c["code"] else before == 3


def amounts(adjudications):
    out = {}
    for a in adjudications or []:
        if "amount" in a:
            check(a["amount"]["currency"] == "USD", "an amount in another currency")
            out[code(a["category"])] = a["amount"]["value"]
    return out


def expected_amounts(rows, columns):
    out = {}
    for column, category in columns.items():
        values = [Decimal(r[column]) for r in rows if r.get(column)]
        if values:
            out[category] = out.get(category, 0) + sum(values)
    return out


def diagnoses(kind, first, rows):
    """Returns the POA of each diagnosis by its code, revision and type."""
    principal = first.get("PRNCPAL_DGNS_CD", "")
    rest = "secondary" if kind in ("carrier", "dme") else "other"
    out = {}

    def add(value, revision, typ, poa=""):
        if value:
            key = (value, "9" if revision == "9" else "0", typ)
            out[key] = out.get(key) or poa or None

    add(principal, first.get("PRNCPAL_DGNS_VRSN_CD"), "principal")
    if kind in ("inpatient", "snf"):
        add(first["ADMTG_DGNS_CD"], first["ADMTG_DGNS_VRSN_CD"], "admitting")
    for n in range(1, 26):
        c = first.get(f"ICD_DGNS_CD{n}", "")
        add(c, first.get(f"ICD_DGNS_VRSN_CD{n}"), "principal" if c == principal else rest, first.get(f"CLM_POA_IND_SW{n}", ""))
    if kind in INSTITUTIONAL:
        add(first["FST_DGNS_E_CD"], first["FST_DGNS_E_VRSN_CD"], "externalcauseofinjury")
        for n in range(1, 13):
            add(first[f"ICD_DGNS_E_CD{n}"], first[f"ICD_DGNS_E_VRSN_CD{n}"], "externalcauseofinjury", first.get(f"CLM_E_POA_IND_SW{n}", ""))
    for n in range(1, 4):
        add(first.get(f"RSN_VISIT_CD{n}", ""), first.get(f"RSN_VISIT_VRSN_CD{n}"), "patientreasonforvisit")
    for r in rows:
        c = r.get("LINE_ICD_DGNS_CD", "")
        add(c, r.get("LINE_ICD_DGNS_VRSN_CD"), "principal" if c == principal else rest)
    return out


def providers(kind, first, rows, strict):
    """The billing provider as (NPI, other identifier), and the care team as pairs of role and NPI."""
    def npi(value):
        return value if value and value != NO_NPI and (strict or luhn(value)) else None

    team = set()
    if kind == "pde":
        own = first["SRVC_PRVDR_ID"]
        is_npi = first["SRVC_PRVDR_ID_QLFYR_CD"] == "01" and len(own) == 10 and own.isdigit()
        team.add(("prescribing", npi(first["PRSCRBR_ID"]) if first["PRSCRBR_ID_QLFYR_CD"] == "01" else None))
        bill = (own, None) if is_npi else (None, own)
    elif kind == "carrier":
        bill = (npi(first["CARR_CLM_BLG_NPI_NUM"] or first["ORG_NPI_NUM"] or first["PRF_PHYSN_NPI"]), None)
        team.add(("referring", npi(first["RFR_PHYSN_NPI"])))
        team |= {("rendering", npi(r["PRF_PHYSN_NPI"])) for r in rows}
    elif kind == "dme":
        bill = (npi(first["PRVDR_NPI"]), None) if npi(first["PRVDR_NPI"]) else (None, first["PRVDR_NUM"])
        team.add(("referring", npi(first["RFR_PHYSN_NPI"])))
    else:
        bill = (npi(first["ORG_NPI_NUM"]), None) if npi(first["ORG_NPI_NUM"]) else (None, first["PRVDR_NUM"])
        team.add(("attending", npi(first["AT_PHYSN_NPI"])))
        if kind in ("inpatient", "snf", "outpatient"):
            team.add(("operating", npi(first["OP_PHYSN_NPI"])))
            team.add(("otheroperating", npi(first["OT_PHYSN_NPI"])))
        if kind in ("inpatient", "snf"):  # the outpatient profile requires a taxonomy code for the rendering provider
            team |= {("rendering", npi(r["RNDRNG_PHYSN_NPI"])) for r in rows}
    return bill, {(role, n) for role, n in team if n}


def compare(kind, number, rows, e, out, strict):
    where, first = f"{kind} claim {number}", rows[0]
    npi, member = "http://hl7.org/fhir/sid/us-npi", "https://bluebutton.cms.gov/resources/variables/bene_id"
    same("profile", where, PROFILE[kind], e["meta"]["profile"][0].split("ExplanationOfBenefit-")[1].split("|")[0])
    same("status", where, {"INSERT": "active", "UPDATE": "active", "DELETE": "cancelled"}[first["DML_IND"]], e["status"])

    # Member and coverage.
    same("member", where, first["BENE_ID"], out.identifier(e["patient"], member))
    coverage = out.get(e["insurance"][0]["coverage"])
    part = {"inpatient": "A", "snf": "A", "hospice": "A", "pde": "D"}.get(kind, "B")
    if kind == "hha":
        part = "B" if first["NCH_NEAR_LINE_REC_IDENT_CD"] == "W" else "A"
    same("coverage", where, (first["BENE_ID"], "Medicare Part " + part),
         (out.identifier(coverage["beneficiary"], member), coverage["class"][0]["name"]))
    same("insurer", where, "CMS", out.get(e["insurer"])["identifier"][0]["value"])

    # Dates.
    if kind == "pde":
        filled, paid = day(first["SRVC_DT"]), day(first["PD_DT"])
        same("paid date", where, paid, e.get("payment", {}).get("date"))
        same("adjudication date", where, paid or filled, e["created"])
        same("date of the record", where, paid or filled, e["meta"]["lastUpdated"][:10])
        same("period", where, filled, e["billablePeriod"]["start"])
    else:
        week = day(first["NCH_WKLY_PROC_DT"])
        same("adjudication date", where, day(first.get("FI_CLM_PROC_DT", "")) or week, e["created"])
        same("date of the record", where, week, e["meta"]["lastUpdated"][:10])
        same("period", where, (day(first["CLM_FROM_DT"]), day(first["CLM_THRU_DT"])), (e["billablePeriod"]["start"], e["billablePeriod"]["end"]))

    # Kind, payment and payee.
    kinds = {"pde": "pharmacy", "carrier": "professional", "dme": "professional"}
    same("type", where, (kinds.get(kind, "institutional"), {"Inpatient-Institutional": "inpatient", "Outpatient-Institutional": "outpatient"}.get(PROFILE[kind])),
         (code(e["type"]), code(e.get("subType"))))
    is_paid = first["CLM_MDCR_NON_PMT_RSN_CD"] in ("", "P") if kind in INSTITUTIONAL else first.get("CARR_CLM_PMT_DNL_CD", "") in list("123456789AB")
    payment = "paid" if is_paid else "denied"
    same("payment", where, None if kind == "pde" else payment, code(e.get("payment", {}).get("type")))
    payee = {"A": "provider", "N": "beneficiary"}.get(first.get("CARR_CLM_PRVDR_ASGNMT_IND_SW"))
    same("payee", where, (payee, e["provider"] if payee == "provider" else None), (code(e.get("payee", {}).get("type")), e.get("payee", {}).get("party")))
    status = [a for x in [e] + e["item"] for a in x.get("adjudication", []) if code(a["category"]) == "benefitpaymentstatus"]
    same("benefit payment status (no network)", where, {"other"}, {code(a["reason"]) for a in status})

    # Diagnoses and procedures.
    got = {}
    for d in e.get("diagnosis", []):
        concept = d["diagnosisCodeableConcept"]
        got[pointless(concept) + (code(d["type"][0]),)] = code(d.get("onAdmission"))
        same("decimal points of ICD codes", where, True, point_is_right(concept))
    want = {} if kind == "pde" else diagnoses(kind, first, rows)
    same("diagnoses", where, set(want), set(got))
    compared["individual diagnoses"] += len(want)
    if kind in ("inpatient", "snf"):
        same("present on admission", where, want, got)
        procedures = [(first[f"ICD_PRCDR_CD{n}"], "9" if first[f"ICD_PRCDR_VRSN_CD{n}"] == "9" else "0", day(first[f"PRCDR_DT{n}"]))
                      for n in range(1, 26) if first[f"ICD_PRCDR_CD{n}"]]
        have = [pointless(p["procedureCodeableConcept"]) + (p.get("date"),) for p in e.get("procedure", [])]
        same("procedures", where, set(procedures), set(have))
        compared["individual procedures"] += len(procedures)
        principal = [pointless(p["procedureCodeableConcept"])[0] for p in e.get("procedure", []) if code(p["type"][0]) == "principal"]
        same("principal procedure", where, [p[0] for p in procedures[:1]], principal)

    # Providers.
    bill, team = providers(kind, first, rows, strict)
    provider = out.get(e["provider"])["identifier"][0]
    same("billing provider", where, bill, (provider["value"], None) if provider["system"] == npi else (None, provider["value"]))
    same("care team", where, team, {(code(t["role"]), out.identifier(t["provider"], npi)) for t in e.get("careTeam", [])})

    infos = collections.defaultdict(list)
    for s in e.get("supportingInfo", []):
        infos[code(s["category"])].append(s)

    def info(category):
        found = infos.get(category)
        return code(found[0]["code"]) if found else None

    # Institutional claims: the details of the stay.
    if kind in INSTITUTIONAL:
        same("type of bill", where, "0" + first["CLM_FAC_TYPE_CD"] + first["CLM_SRVC_CLSFCTN_TYPE_CD"] + first["CLM_FREQ_CD"], info("typeofbill"))
        same("discharge status", where, first["PTNT_DSCHRG_STUS_CD"].zfill(2) if first["PTNT_DSCHRG_STUS_CD"] else None, info("discharge-status"))
    if kind in ("inpatient", "snf"):
        period = infos["admissionperiod"][0]["timingPeriod"]
        same("admission", where, (day(first["CLM_ADMSN_DT"]), day(first["NCH_BENE_DSCHRG_DT"])), (period["start"], period.get("end")))
        same("type of admission", where, first["CLM_IP_ADMSN_TYPE_CD"] or None, info("admtype"))
        same("point of origin", where, first["CLM_SRC_IP_ADMSN_CD"] or None, info("pointoforigin"))
        same("DRG", where, first["CLM_DRG_CD"] or None, info("drg"))

    # The fill.
    if kind == "pde":
        same("prescription number", where, True, any(i["value"] == first["RX_SRVC_RFRNC_NUM"] for i in e["identifier"]))
        same("days supply", where, Decimal(first["DAYS_SUPLY_NUM"]), infos["dayssupply"][0]["valueQuantity"]["value"])
        same("refill number", where, Decimal(first["FILL_NUM"]), infos["refillnum"][0]["valueQuantity"]["value"])
        same("dispense as written", where, first["DAW_PROD_SLCTN_CD"], info("dawcode"))
        same("compound", where, first["CMPND_CD"], info("compoundcode"))
        same("prescription origin", where, first["RX_ORGN_CD"] or None, info("rxorigincode"))
        same("brand or generic", where, first["BRND_GNRC_CD"] or None, info("brandgenericindicator"))

    # Lines.
    items = {int(i["sequence"]): i for i in e["item"]}
    number_column = {"carrier": "LINE_NUM", "dme": "LINE_NUM", "pde": None}.get(kind, "CLM_LINE_NUM")
    same("lines", where, {int(r[number_column]) if number_column else 1 for r in rows}, set(items))
    for r in rows:
        n = int(r[number_column]) if number_column else 1
        i, at = items.get(n), f"{where} line {n}"
        if i is None:
            continue
        compared["individual lines"] += 1
        same("line amounts", at, expected_amounts([r], OF_LINE), amounts(i.get("adjudication")))
        compared["individual line amounts"] += len(expected_amounts([r], OF_LINE))
        if kind == "pde":
            same("drug", at, (r["PROD_SRVC_ID"], "http://hl7.org/fhir/sid/ndc"),
                 (i["productOrService"]["coding"][0]["code"], i["productOrService"]["coding"][0]["system"]))
            same("quantity", at, Decimal(r["QTY_DSPNSD_NUM"]), i["quantity"]["value"])
            same("date of service", at, day(r["SRVC_DT"]), i["servicedDate"])
            continue
        service = code(i["productOrService"])
        wanted, modifiers = r["HCPCS_CD"], [v for v in (r.get(f"HCPCS_{p}_MDFR_CD") for p in ("1ST", "2ND", "3RD", "4TH")) if v]
        if not strict: # an invalid code gets its lost zeros back, becomes text or is left out
            wanted = with_zeros(wanted)
            if wanted and not is_service(wanted):
                same("service as text", at, wanted, i["productOrService"].get("text"))
                wanted = ""
            modifiers = [m for m in modifiers if len(m) == 2]
        same("service code", at, wanted or "not-applicable", service)
        same("modifiers", at, modifiers, [code(m) for m in i.get("modifier", [])])
        units = r["LINE_SRVC_CNT"] if kind in ("carrier", "dme") else r.get("REV_CNTR_UNIT_CNT", "")
        same("units", at, Decimal(units) if units else None, i.get("quantity", {}).get("value"))
        if kind in INSTITUTIONAL:
            same("revenue code", at, r["REV_CNTR"].zfill(4), code(i["revenue"]))
        if kind in ("outpatient", "hha", "hospice"):
            same("date of service", at, day(r["REV_CNTR_DT"]), i["servicedDate"])
            reasons = [r.get(f"REV_CNTR_{p}_ANSI_CD", "")[2:] for p in ("1ST", "2ND", "3RD", "4TH")]
            same("adjustment reasons", at, [x for x in reasons if x],
                 [c for a in i.get("adjudication", []) if code(a["category"]) == "adjustmentreason" for c in [code(a["reason"])]])
        if kind in ("carrier", "dme"):
            start, end = day(r["LINE_1ST_EXPNS_DT"]), day(r["LINE_LAST_EXPNS_DT"])
            have = i.get("servicedPeriod", {"start": i.get("servicedDate"), "end": i.get("servicedDate")})
            same("date of service", at, (start, end), (have["start"], have["end"]))
            same("place of service", at, r["LINE_PLACE_OF_SRVC_CD"].zfill(2), code(i["locationCodeableConcept"]))

    # Totals: from the claim's columns, or else the sum of the lines.
    header = expected_amounts([first], OF_CLAIM)
    if kind in ("outpatient", "hha", "hospice"):  # revenue code 0001 without a service is the sum of the lines
        header |= {"noncovered": Decimal(r["REV_CNTR_NCVRD_CHRG_AMT"]) for r in rows
                   if r["REV_CNTR"].zfill(4) == "0001" and not r["HCPCS_CD"] and r["REV_CNTR_NCVRD_CHRG_AMT"]}
    want = expected_amounts(rows, OF_LINE) | header
    same("totals", where, want, amounts(e["total"]))
    compared["individual totals"] += len(want)


def compare_members(members, out):
    race = {"0": "UNK", "1": "2106-3", "2": "2054-5", "4": "2028-9", "6": "1002-5"}
    patients = {p["identifier"][0]["value"]: p for p in out.by_name.values() if p["resourceType"] == "Patient"}
    same("members of the extract", "members", set(members), set(patients))
    for number, r in members.items():
        p = patients.get(number)
        if p is None:
            continue
        where = f"member {number}"
        same("MBI", where, r["MBI_NUM"] or None, next((i["value"] for i in p["identifier"] if i["system"].endswith("us-mbi")), None))
        names = [n for n in (r["BENE_GVN_NAME"], r["BENE_MDL_NAME"]) if n]
        same("name", where, (r["BENE_SRNM_NAME"], names), (p["name"][0].get("family"), p["name"][0].get("given", [])))
        same("date of birth", where, day(r["BENE_BIRTH_DT"]), p.get("birthDate"))
        same("date of death", where, day(r["DEATH_DT"]), (p.get("deceasedDateTime") or "")[:10] or None)
        same("sex", where, {"0": "unknown", "1": "male", "2": "female"}[r["BENE_SEX_IDENT_CD"]], p["gender"])
        omb = [x["valueCoding"]["code"] for x in p.get("extension", []) if x["url"].endswith("us-core-race") for x in x["extension"] if "valueCoding" in x]
        same("race", where, [race[r["BENE_RACE_CD"]]] if r["BENE_RACE_CD"] in race else [], omb)
        same("year of the record", where, r["RFRNC_YR"] + "-01-01", p["meta"]["lastUpdated"][:10])
        covered = {c["class"][0]["name"][-1]: c for c in out.by_name.values()
                   if c["resourceType"] == "Coverage" and c["beneficiary"]["reference"] == "Patient/" + p["id"]}
        contracts = [v for k, v in r.items() if k.startswith("PTD_CNTRCT_") and v not in ("", "N", "0", "*")]
        parts = {x for x in "AB" if r[f"{x}_MO_CNT"] not in ("", "0", "00") or r[f"PT{x}_CVRG_STRT_DT"]} | ({"D"} if contracts else set())
        same("parts of Medicare", where, parts, set(covered))
        for x, c in covered.items():
            same("subscriber", f"{where}, part {x}", r["MBI_NUM"] or r["BENE_CRNT_HIC_NUM"], c["subscriberId"])
            period = c.get("period", {})
            same("period of coverage", f"{where}, part {x}", (day(r[f"PT{x}_CVRG_STRT_DT"]), day(r[f"PT{x}_CVRG_END_DT"])), (period.get("start"), period.get("end")))
            if x == "D":
                same("contract of Part D", where, contracts[-1], c["class"][0]["value"])


def lacks(kind, rows, strict):
    """What the guide requires and the rows lack, or "" if nothing is missing."""
    first = rows[0]
    bill, team = providers(kind, first, rows, strict)
    if kind in ("carrier", "dme") and any(not r["HCPCS_CD"] for r in rows):
        return "a line without a service code"
    services = [r["HCPCS_CD"] if strict else with_zeros(r["HCPCS_CD"]) for r in rows if r.get("HCPCS_CD")]
    if (strict or kind not in INSTITUTIONAL) and not all(is_service(s) for s in services):
        return "an invalid service code"
    if strict and any(r.get(m) and len(r[m]) != 2 for r in rows for m in MODIFIERS):
        return "an invalid modifier"
    if not any(bill):
        return "no billing provider"
    if strict and not all(luhn(n) for n in [bill[0]] + [n for _, n in team] if n):
        return "an invalid NPI"
    if kind == "pde" and not (len(first["PROD_SRVC_ID"]) == 11 and first["PROD_SRVC_ID"].isdigit()):
        return "a drug without an NDC of eleven digits"
    if kind in ("outpatient", "hha", "hospice") and any(not r["REV_CNTR_DT"] for r in rows) and first["CLM_FROM_DT"] != first["CLM_THRU_DT"]:
        return "a line without a date"
    return ""


def load(name, files, mode):
    out = os.path.join(work, name)
    command = [program, "load", "--quiet", "--mode", mode, "--state", out + ".state", "--to", "ndjson:" + out, "--manifest", out + ".json"]
    done = subprocess.run(command + files, capture_output=True, text=True)
    manifest = json.load(open(out + ".json"))
    # A load fails if nothing in it can be used.
    check(done.returncode == (0 if manifest["claims"]["loaded"] else 1), f"{name}: load exited with {done.returncode}: {done.stderr[-500:]}")
    check(manifest["layout"]["name"] == "rif" and manifest["balanced"], f"{name}: the layout is {manifest['layout']['name']}, balanced: {manifest['balanced']}")
    found = []
    for file in files:
        found += sorted(glob.glob(file + "/*")) if os.path.isdir(file) else [file]
    claims, members = read(found)
    result, strict = Output(out), mode == "strict"
    check(manifest["claims"]["seen"] == len(claims), f"{name}: {manifest['claims']['seen']} claims were read, but the files have {len(claims)}")
    counts, reasons = collections.Counter(), collections.Counter()
    for (kind, number), rows in claims.items():
        e, lack = result.claims.get((kind == "pde", number)), lacks(kind, rows, strict)
        counts[kind, "seen"] += 1
        if e is not None:
            counts[kind, "loaded"] += 1
            check(not lack, f"{name}: {kind} claim {number} was loaded although it has {lack}")
            compare(kind, number, rows, e, result, strict)
        else:
            check(lack, f"{name}: {kind} claim {number} was not loaded although it lacks nothing")
            reasons[kind, lack] += 1
    check(len(result.claims) == sum(counts[k, "loaded"] for k in PROFILE), f"{name}: some loaded claims are in no file")
    compare_members(members, result)
    print(f"{name}, {mode} mode:")
    for kind in PROFILE:
        if counts[kind, "seen"]:
            why = "; ".join(f"{n} have {lack}" for (k, lack), n in reasons.items() if k == kind)
            print(f"  {kind:<11}{counts[kind, 'seen']:>4} claims {counts[kind, 'loaded']:>4} loaded  {why}")


def fill_in(files, target):
    """Copies the files with missing service codes filled in and invalid codes and NPIs replaced."""
    os.makedirs(target)
    for file in files:
        rows = rows_of(file)
        kind = kind_of(rows)
        if kind is None:
            shutil.copy(file, target)
            continue
        for n, r in enumerate(rows):
            service = r.get("HCPCS_CD", "")
            if kind in ("carrier", "dme") and not service or service and not is_service(service):
                r["HCPCS_CD"] = ("G0463", "99213", "99214")[n % 3]
            for m in MODIFIERS:
                if r.get(m) and len(r[m]) != 2:
                    r[m] = "59"
            for column in NPIS:
                v = r.get(column)
                if v and v != NO_NPI and not luhn(v):
                    r[column] = next(x for x in (v[:9].ljust(9, "1") + str(d) for d in range(10)) if luhn(x))
            if kind == "pde" and len(r["PROD_SRVC_ID"]) != 11:
                r["PROD_SRVC_ID"] = "50090443201"
        with open(os.path.join(target, os.path.basename(file)), "w") as f:
            f.write("|".join(rows[0]) + "\n")
            f.writelines("|".join(r.values()) + "\n" for r in rows)


synthea = os.path.join(data, "rif-synthea")
samples = [os.path.join(data, "rif-static-samples", f"sample-a-{k}.txt") for k in
           ("beneficiaries", "inpatient", "snf", "outpatient", "hha", "hospice", "bcarrier", "dme", "pde")]
filled = os.path.join(work, "rif-filled-in")
fill_in(sorted(glob.glob(synthea + "/*")), filled)
fill_in(samples, filled + "-samples")
load("rif", [synthea], "strict")
load("rif-filled", [filled], "strict")
load("rif-samples", samples, "strict")
load("rif-samples-lenient", samples, "lenient")
load("rif-samples-filled", [filled + "-samples"], "strict")
print("compared:")
for what, n in sorted(compared.items()):
    print(f"  {n:>6} {what}")
print(f"{failures} differences")
sys.exit(1 if failures else 0)
