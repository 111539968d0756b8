package sandbox

import (
	"fmt"
	"strconv"
	"time"

	"cpcds2fhir/schemas/cpcds"
)

// Places of service.
const (
	office = "11"
	home   = "10" // telehealth
)

// histories writes the claims of all members, by member and then by date, and closes the book.
func (b *book) histories() {
	b.elena()
	b.grace()
	b.noah()
	b.lily()
	b.samuel()
	b.priya()
	b.tomas()
	b.ruth()
	b.jun()
	b.hana()
	b.close()
}

// visit is a professional claim of one day in an office.
func (b *book) visit(who string, on time.Time, at organization, by practitioner, why ...diagnosis) *claim {
	return b.open(who, "professional", on, on, at).by(by).diagnose(why...)
}

// outpatient is a claim of a facility for one day.
func (b *book) outpatient(who string, on time.Time, at organization, by practitioner, why ...diagnosis) *claim {
	c := b.open(who, "outpatient", on, on, at).by(by).diagnose(why...)
	c.Set(cpcds.ClaimTypeOfBillCode, "0131")
	c.Set(cpcds.AdmissionTypeCode, "3")
	c.Set(cpcds.PointOfOriginCode, "1")
	c.Set(cpcds.PatientDischargeStatusCode, "01")
	return c
}

// stay is an inpatient claim of some nights, with its diagnosis related group of MS-DRG.
func (b *book) stay(who string, on time.Time, nights int, drg string, by practitioner, why ...diagnosis) *claim {
	c := b.open(who, "inpatient", on, on.AddDate(0, 0, nights), hospital).by(by).diagnose(why...)
	for e, v := range map[cpcds.Element]string{
		cpcds.ClaimTypeOfBillCode: "0111", cpcds.AdmissionTypeCode: "1", cpcds.PointOfOriginCode: "1", cpcds.PatientDischargeStatusCode: "01",
		cpcds.MemberAdmissionDate: date(c.from), cpcds.MemberDischargeDate: date(c.thru), cpcds.DRGCode: drg, cpcds.DRGVersion: "42", cpcds.DRGName: "MS-DRG",
	} {
		c.Set(e, v)
	}
	return c
}

// operate adds the principal procedure of a stay (ICD-10-PCS).
func (c *claim) operate(code string, on time.Time, by practitioner) *claim {
	var p cpcds.Procedure
	p.Set(cpcds.InpatientProcedureCode, code)
	p.Set(cpcds.InpatientProcedureType, "principal")
	p.Set(cpcds.InpatientProcedureDate, date(on))
	c.Procedures = append(c.Procedures, p)
	c.Set(cpcds.OperatingProviderNPI, by.npi)
	return c
}

// fill is a pharmacy claim for one drug; refill counts from 0.
func (b *book) fill(who string, on time.Time, by practitioner, d *drug, refill, copay int) *claim {
	c := b.open(who, "pharmacy", on, on, pharmacy).by(by)
	l := c.line(d.charge, d.allowed, copay)
	brand := "2"
	if d.brand {
		brand = "1"
	}
	for e, v := range map[cpcds.Element]string{
		cpcds.RxServiceReferenceNumber: fmt.Sprintf("%s%03d", who[2:], b.count[who]), cpcds.NationalDrugCode: d.ndc, cpcds.DrugDescription: d.text,
		cpcds.CompoundCode: "1", cpcds.QuantityDispensed: d.quantity, cpcds.QuantityQualifierCode: d.unit, cpcds.DaysSupply: strconv.Itoa(d.days),
		cpcds.DawProductSelectionCode: "0", cpcds.RefillNumber: strconv.Itoa(refill), cpcds.RefillsAuthorized: "11",
		cpcds.PrescriptionOriginCode: "3", cpcds.PlanReportedBrandGenericCode: brand,
	} {
		l.Set(e, v)
	}
	return c
}

// elena has claims of all kinds. They fit on one page of a search.
func (b *book) elena() {
	b.visit(elena, b.day(35, 12), clinic, reyes, diabetes, hypertension).
		service(office, "99214", "Office visit, established patient, 30 minutes", 16400, 10350, 300).
		service(office, "83036", "Hemoglobin A1c test", 2400, 1338, 0)
	b.exam(elena, b.day(33, 20))
	b.fill(elena, b.day(35, 13), reyes, &metformin, 0, 100)
	for i := 1; i < 12; i++ {
		b.fill(elena, b.day(35-3*i, 13), reyes, &metformin, i, 100)
	}
	b.fill(elena, b.day(29, 4), reyes, &lisinopril, 0, 100)
	b.fill(elena, b.day(26, 2), reyes, &lisinopril, 1, 100)
	b.visit(elena, b.day(29, 3), clinic, reyes, hypertension, diabetes).
		service(office, "99213", "Office visit, established patient, 20 minutes", 11200, 7480, 300).
		service(office, "93000", "Electrocardiogram", 4500, 1530, 0)
	b.eyeExam(elena, b.day(27, 9), shortSight)

	// An emergency visit that the hospital billed again, with one line more.
	first := b.outpatient(elena, b.day(23, 17), hospital, hart, chestPain, hypertension).
		revenue("0450", "99284", "Emergency department visit, high severity", 98000, 41200, 800).
		revenue("0730", "93005", "Electrocardiogram, tracing only", 16200, 5400, 0)
	b.outpatient(elena, b.day(23, 17), hospital, hart, chestPain, hypertension).
		revenue("0450", "99284", "Emergency department visit, high severity", 98000, 41200, 800).
		revenue("0730", "93005", "Electrocardiogram, tracing only", 16200, 5400, 0).
		revenue("0301", "84484", "Troponin test", 9200, 2870, 0).
		process(40, 52, 58).note("This replaces an earlier claim: the hospital added a laboratory test.").replaces(first)
	b.visit(elena, b.day(22, 10), clinic, reyes, chestPain, cholesterol).
		service(office, "99214", "Office visit, established patient, 30 minutes", 16400, 10350, 300).
		service(office, "80061", "Lipid panel", 3100, 1339, 0)
	for i := range 5 {
		b.fill(elena, b.day(22-i, 11), reyes, &atorvastatin, i, 300)
	}
	b.visit(elena, b.day(19, 6), clinic, reyes, diabetes).
		service(office, "99213", "Office visit, established patient, 20 minutes", 11200, 7480, 300).
		service(office, "97802", "Medical nutrition therapy", 7800, 0, 0).refuse("96", "N130", "Your plan does not cover this service.")
	b.exam(elena, b.day(18, 14))

	// The winter's pneumonia, soon after the change of coverage.
	b.visit(elena, b.day(12, 3), clinic, reyes, cold).
		service(office, "99213", "Office visit, established patient, 20 minutes", 11200, 7480, 300)
	b.stay(elena, b.day(12, 8), 4, "193", mbeki, pneumonia, diabetes, hypertension).
		revenue("0120", "", "Room and board, semi-private", 472000, 318000, 0).units(4).share(10000, 0).
		revenue("0250", "", "Pharmacy", 50400, 31000, 0).
		revenue("0300", "", "Laboratory", 38200, 22400, 0).
		revenue("0324", "71046", "Chest X-ray", 17800, 9300, 0)
	b.fill(elena, b.day(12, 13), mbeki, &amoxicillin, 0, 100)
	b.outpatient(elena, b.day(11, 9), imaging, rahman, pneumonia).
		revenue("0324", "71046", "Chest X-ray", 17800, 9300, 200)
	b.visit(elena, b.day(10, 5), clinic, reyes, checkup, diabetes).
		service(office, "99396", "Preventive visit, age 40 to 64", 18900, 12600, 0).
		service(office, "83036", "Hemoglobin A1c test", 2400, 1338, 0)
	b.outpatient(elena, b.day(9, 15), imaging, rahman, diagnosis{"Z12.31", "Encounter for screening mammogram for malignant neoplasm of breast"}).
		revenue("0403", "77067", "Screening mammogram", 31200, 18900, 0)

	// A drug that needs authorization, a fill that was taken back, and a visit that was billed too late.
	b.fill(elena, b.day(8, 6), reyes, &januvia, 0, 0).refuse("75", "", "This medicine needs prior authorization. Your doctor can ask for it.")
	taken := b.fill(elena, b.day(7, 18), reyes, &lisinopril, 0, 100).note("The pharmacy took this claim back: the medicine was not picked up.")
	taken.Set(cpcds.ClaimProcessingStatusCode, "cancelled")
	b.eyeExam(elena, b.day(6, 11), shortSight)
	b.glasses(elena, b.day(6, 21))
	late := b.visit(elena, b.day(6, 4), clinic, reyes, hypertension).process(380, 390, 390).
		service(office, "99213", "Office visit, established patient, 20 minutes", 11200, 0, 0).refuse("29", "N30", "The provider sent this claim too late. You do not owe anything.")
	late.note("This is not a bill.")
	b.filling(elena, b.day(4, 16), "30", "M O", 200)
	b.fill(elena, b.day(3, 3), reyes, &lisinopril, 0, 100)
	b.visit(elena, b.day(2, 7), clinic, reyes, diabetes, hypertension).
		service(office, "99214", "Office visit, established patient, 30 minutes", 16900, 10700, 300).
		service(office, "90686", "Influenza vaccine", 2400, 1900, 0).
		service(office, "90471", "Administration of a vaccine", 3200, 1750, 0)
	b.visit(elena, b.day(1, 5), clinic, reyes, backPain).
		service(home, "99213", "Telehealth visit, 20 minutes", 11200, 7480, 300)
	b.fill(elena, b.day(0, 1), reyes, &lisinopril, 1, 100)
}

// grace has a pregnancy and a birth.
func (b *book) grace() {
	for i := range 6 {
		b.visit(grace, b.day(27-i, 8), women, vega, pregnancy).
			service(office, "99213", "Prenatal visit", 12400, 8200, 0)
	}
	b.outpatient(grace, b.day(25, 19), imaging, rahman, pregnancy).
		revenue("0402", "76805", "Ultrasound, obstetric", 42000, 19800, 0)
	b.stay(grace, b.day(20, 5), 2, "807", vega, delivery, oneLiveborn).
		revenue("0120", "", "Room and board, semi-private", 236000, 164000, 0).units(2).
		revenue("0720", "", "Labor and delivery", 318000, 201000, 0).
		operate("10E0XZZ", b.day(20, 6), vega)
	b.visit(grace, b.day(18, 14), women, vega, diagnosis{"Z39.2", "Encounter for routine postpartum follow-up"}).
		service(office, "99214", "Postpartum visit", 16400, 10350, 0)
	for i := range 4 {
		b.visit(grace, b.day(10-i, 22), counseling, fischer, anxiety).
			service(home, "90834", "Psychotherapy, 45 minutes", 15500, 9800, 300)
	}
	b.exam(grace, b.day(5, 9))
	b.visit(grace, b.day(1, 3), clinic, lund, cold).
		service(office, "99213", "Office visit, established patient, 20 minutes", 11200, 7480, 300)
}

func (b *book) noah() {
	b.visit(noah, b.day(30, 11), clinic, lund, childCheckup).
		service(office, "99393", "Preventive visit, age 5 to 11", 13100, 9400, 0)
	b.exam(noah, b.day(24, 4))
	b.visit(noah, b.day(21, 13), clinic, lund, earInfection).
		service(office, "99213", "Office visit, established patient, 20 minutes", 11200, 7480, 0)
	b.fill(noah, b.day(21, 13), lund, &amoxicillin, 0, 0)
	b.visit(noah, b.day(18, 10), clinic, lund, childCheckup).
		service(office, "99393", "Preventive visit, age 5 to 11", 13100, 9400, 0)
	b.exam(noah, b.day(12, 6))
	b.outpatient(noah, b.day(7, 24), hospital, hart, ankle).
		revenue("0450", "99283", "Emergency department visit, moderate severity", 61000, 24800, 0).
		revenue("0320", "73610", "X-ray of the ankle", 21500, 8700, 0)
	b.visit(noah, b.day(6, 9), clinic, lund, childCheckup).
		service(office, "99393", "Preventive visit, age 5 to 11", 13400, 9600, 0)
	b.fill(noah, b.day(2, 12), lund, &inhaler, 0, 0)
}

func (b *book) lily() {
	c := b.stay(lily, b.day(20, 6), 1, "795", lund, bornHere).
		revenue("0170", "", "Nursery", 64000, 48000, 0)
	c.Set(cpcds.AdmissionTypeCode, "4") // a newborn, whose origins are others
	c.Set(cpcds.PointOfOriginCode, "5")
	for _, months := range []int{18, 16, 14, 11, 8, 5} {
		b.visit(lily, b.day(months, 7), clinic, lund, childCheckup).
			service(office, "99391", "Preventive visit, infant", 12800, 9100, 0).
			service(office, "90460", "Administration of a vaccine", 3400, 1900, 0)
	}
	b.visit(lily, b.day(2, 15), clinic, lund, earInfection).
		service(office, "99213", "Office visit, established patient, 20 minutes", 11200, 7480, 0)
}

func (b *book) samuel() {
	b.stay(samuel, b.day(28, 7), 5, "291", mbeki, heartFailure, hypertension).
		revenue("0120", "", "Room and board, semi-private", 590000, 401000, 0).units(5).share(10000, 0).
		revenue("0250", "", "Pharmacy", 61200, 39000, 0)
	on := b.day(13, 10)
	b.stay(samuel, on, 3, "470", sorensen, kneeWear, hypertension).
		revenue("0120", "", "Room and board, semi-private", 354000, 240000, 0).units(3).
		revenue("0360", "27447", "Operating room, total knee replacement", 1245000, 874000, 0).share(10000, 0).
		revenue("0278", "", "Implant", 520000, 412000, 0).
		operate("0SRC0J9", on, sorensen)
	b.stay(samuel, b.day(3, 12), 4, "291", mbeki, heartFailure, hypertension).
		revenue("0120", "", "Room and board, semi-private", 472000, 321000, 0).units(4).
		revenue("0300", "", "Laboratory", 41500, 23800, 0)
}

func (b *book) priya() {
	b.outpatient(priya, b.day(31, 18), hospital, hart, migraine).
		revenue("0450", "99283", "Emergency department visit, moderate severity", 61000, 24800, 800).
		revenue("0351", "70450", "CT of the head", 98500, 31200, 0)
	for i := range 5 {
		b.outpatient(priya, b.day(15-i, 9), imaging, castillo, backPain).
			revenue("0420", "97110", "Therapeutic exercises, 15 minutes", 14800, 6400, 200).units(2)
	}
	b.outpatient(priya, b.day(9, 20), imaging, rahman, backPain).
		revenue("0612", "72148", "MRI of the lumbar spine", 188000, 0, 0).refuse("197", "N54", "This service needed authorization before it was done.")
	b.outpatient(priya, b.day(1, 6), hospital, hart, migraine).
		revenue("0450", "99282", "Emergency department visit, low severity", 41000, 16300, 800)
}

func (b *book) tomas() {
	b.visit(tomas, b.day(34, 15), clinic, okafor, checkup).
		service(office, "99395", "Preventive visit, age 18 to 39", 15600, 11800, 0)
	for i := range 8 {
		b.visit(tomas, b.day(20-i, 13), counseling, fischer, anxiety).
			service(home, "90834", "Psychotherapy, 45 minutes", 15500, 9800, 300)
	}
	b.visit(tomas, b.day(10, 15), clinic, okafor, checkup).
		service(office, "99395", "Preventive visit, age 18 to 39", 15600, 11800, 0).
		service(office, "90715", "Tetanus, diphtheria and pertussis vaccine", 4800, 4100, 0)
	b.visit(tomas, b.day(1, 8), clinic, okafor, cold).
		service(office, "99213", "Office visit, established patient, 20 minutes", 11200, 7480, 300)
}

func (b *book) ruth() {
	for i := range 12 {
		b.fill(ruth, b.day(35-3*i, 9), reyes, &levothyroxine, i, 300)
	}
	for i := range 6 {
		b.fill(ruth, b.day(24-4*i, 17), reyes, &inhaler, i, 300)
	}
	for i := range 9 {
		b.fill(ruth, b.day(9-i, 3), reyes, &advair, i, 300)
	}
	b.fill(ruth, b.day(2, 20), reyes, &atorvastatin, 0, 0).refuse("76", "", "Your plan pays for fewer tablets a month.")
}

func (b *book) jun() {
	for i := range 5 {
		b.exam(jun, b.day(34-7*i, 11))
	}
	b.filling(jun, b.day(19, 25), "14", "O", 200)
	b.open(jun, "oral", b.day(5, 13), b.day(5, 13), dental).by(tran).
		service(office, "D2740", "Crown, porcelain or ceramic", 98000, 61000, 0).tooth("14", "").share(0, 6100)
}

func (b *book) hana() {
	b.eyeExam(hana, b.day(32, 10), shortSight)
	b.glasses(hana, b.day(32, 24))
	b.eyeExam(hana, b.day(17, 8), dryEye)
	b.eyeExam(hana, b.day(5, 19), shortSight)
	b.glasses(hana, b.day(4, 2))
}

// exam is a check-up at the dentist's.
func (b *book) exam(who string, on time.Time) *claim {
	c := b.open(who, "oral", on, on, dental).by(tran).
		service(office, "D0120", "Periodic oral examination", 4900, 3100, 0)
	if who == noah {
		return c.service(office, "D1120", "Cleaning, child", 6500, 4700, 0)
	}
	return c.service(office, "D1110", "Cleaning, adult", 8800, 6200, 0)
}

// filling repairs the surfaces of a tooth.
func (b *book) filling(who string, on time.Time, number, surfaces string, copay int) *claim {
	return b.open(who, "oral", on, on, dental).by(tran).
		service(office, "D2392", "Filling, resin, two surfaces", 19900, 12400, copay).tooth(number, surfaces).
		service(office, "D9230", "Nitrous oxide", 5600, 0, 0).refuse("96", "N130", "Your plan does not cover this service.")
}

// eyeExam is a visit to the optometrist.
func (b *book) eyeExam(who string, on time.Time, why ...diagnosis) *claim {
	return b.open(who, "vision", on, on, eyes).by(bell).diagnose(why...).
		service(office, "92014", "Eye examination, established patient", 14200, 8900, 100).
		service(office, "92015", "Refraction", 3900, 2100, 0)
}

// glasses are frames and lenses.
func (b *book) glasses(who string, on time.Time) *claim {
	return b.open(who, "vision", on, on, eyes).by(bell).diagnose(shortSight).
		service(office, "V2020", "Frames", 13500, 7000, 0).
		service(office, "V2100", "Lenses, single vision", 9800, 5600, 0).units(2).
		service(office, "V2750", "Anti-reflective coating", 4500, 0, 0).refuse("96", "N130", "Your plan does not cover this service.")
}
