package sandbox

// practitioner is a person who treats members.
type practitioner struct{ npi, prefix, given, family, taxonomy string }

// organization is a facility, a group, or a payer, which has a payer identifier in place of an NPI.
type organization struct {
	npi, payer, name, street string
	town                     town
}

var (
	reyes    = practitioner{"1800000014", "Dr.", "Marisol", "Reyes", "207Q00000X"}  // family medicine
	okafor   = practitioner{"1800000022", "Dr.", "Chidi", "Okafor", "207R00000X"}   // internal medicine
	lund     = practitioner{"1800000030", "Dr.", "Ingrid", "Lund", "208000000X"}    // pediatrics
	hart     = practitioner{"1800000048", "Dr.", "Julian", "Hart", "207P00000X"}    // emergency medicine
	mbeki    = practitioner{"1800000055", "Dr.", "Thandi", "Mbeki", "208M00000X"}   // hospitalist
	sorensen = practitioner{"1800000063", "Dr.", "Peter", "Sorensen", "207X00000X"} // orthopedic surgery
	vega     = practitioner{"1800000071", "Dr.", "Lucia", "Vega", "207V00000X"}     // obstetrics
	tran     = practitioner{"1800000089", "Dr.", "Minh", "Tran", "1223G0001X"}      // dentistry
	bell     = practitioner{"1800000097", "Dr.", "Aisha", "Bell", "152W00000X"}     // optometry
	fischer  = practitioner{"1800000105", "", "Nora", "Fischer", "101YM0800X"}      // mental health counseling
	castillo = practitioner{"1800000113", "", "Diego", "Castillo", "225100000X"}    // physical therapy
	rahman   = practitioner{"1800000121", "Dr.", "Farid", "Rahman", "2085R0202X"}   // radiology

	practitioners = []practitioner{reyes, okafor, lund, hart, mbeki, sorensen, vega, tran, bell, fischer, castillo, rahman}
)

var (
	medicaid  = organization{payer: "ANYSTATE", name: "Anystate Medicaid", street: "1 Capitol Plaza", town: provo}
	riverbend = organization{payer: "RIVERBEND", name: "Riverbend Health Plan", street: "400 River Pkwy", town: ogden}

	hospital   = organization{npi: "1900000013", name: "Northgate General Hospital", street: "1200 Northgate Blvd", town: logan}
	clinic     = organization{npi: "1900000021", name: "Elm Street Family Clinic", street: "45 Elm St", town: logan}
	pharmacy   = organization{npi: "1900000039", name: "Corner Pharmacy", street: "2 Main St", town: logan}
	dental     = organization{npi: "1900000047", name: "Bright Arch Dental", street: "310 Oak St", town: provo}
	eyes       = organization{npi: "1900000054", name: "Clearview Eye Care", street: "77 Washington Ave", town: provo}
	women      = organization{npi: "1900000062", name: "Juniper Women's Health", street: "18 Juniper Way", town: provo}
	counseling = organization{npi: "1900000070", name: "Steady Path Counseling", street: "640 Franklin St", town: ogden}
	imaging    = organization{npi: "1900000088", name: "Lakeside Imaging and Therapy", street: "95 Lake St", town: ogden}

	organizations = []organization{medicaid, riverbend, hospital, clinic, pharmacy, dental, eyes, women, counseling, imaging}
)

// diagnosis is a code of ICD-10-CM with its text.
type diagnosis struct{ code, text string }

var (
	diabetes     = diagnosis{"E11.9", "Type 2 diabetes mellitus without complications"}
	hypertension = diagnosis{"I10", "Essential (primary) hypertension"}
	cholesterol  = diagnosis{"E78.5", "Hyperlipidemia, unspecified"}
	cold         = diagnosis{"J06.9", "Acute upper respiratory infection, unspecified"}
	pneumonia    = diagnosis{"J18.9", "Pneumonia, unspecified organism"}
	chestPain    = diagnosis{"R07.9", "Chest pain, unspecified"}
	heartFailure = diagnosis{"I50.9", "Heart failure, unspecified"}
	kneeWear     = diagnosis{"M17.11", "Unilateral primary osteoarthritis, right knee"}
	backPain     = diagnosis{"M54.50", "Low back pain, unspecified"}
	migraine     = diagnosis{"G43.909", "Migraine, unspecified, not intractable, without status migrainosus"}
	anxiety      = diagnosis{"F41.1", "Generalized anxiety disorder"}
	ankle        = diagnosis{"S93.401A", "Sprain of unspecified ligament of right ankle, initial encounter"}
	checkup      = diagnosis{"Z00.00", "Encounter for general adult medical examination without abnormal findings"}
	childCheckup = diagnosis{"Z00.129", "Encounter for routine child health examination without abnormal findings"}
	earInfection = diagnosis{"H66.90", "Otitis media, unspecified, unspecified ear"}
	pregnancy    = diagnosis{"Z34.90", "Encounter for supervision of normal pregnancy, unspecified, unspecified trimester"}
	delivery     = diagnosis{"O80", "Encounter for full-term uncomplicated delivery"}
	oneLiveborn  = diagnosis{"Z37.0", "Single live birth"}
	bornHere     = diagnosis{"Z38.00", "Single liveborn infant, delivered vaginally"}
	shortSight   = diagnosis{"H52.13", "Myopia, bilateral"}
	dryEye       = diagnosis{"H04.123", "Dry eye syndrome of bilateral lacrimal glands"}
)

// drug is a medicine as it is dispensed: quantity of unit for some days, at a charge and an allowed price in cents.
type drug struct {
	ndc, text, quantity, unit string
	days                      int
	brand                     bool
	charge, allowed           int
}

var (
	metformin     = drug{"00093104801", "Metformin HCl 500 mg tablet", "180", "UN", 90, false, 3420, 1315}
	lisinopril    = drug{"68180051401", "Lisinopril 10 mg tablet", "90", "UN", 90, false, 2890, 940}
	atorvastatin  = drug{"00071015623", "Lipitor (atorvastatin) 20 mg tablet", "30", "UN", 30, true, 39900, 31840}
	amoxicillin   = drug{"00093310905", "Amoxicillin 500 mg capsule", "30", "UN", 10, false, 1895, 1045}
	januvia       = drug{"00006027731", "Januvia (sitagliptin) 100 mg tablet", "30", "UN", 30, true, 61200, 54120}
	levothyroxine = drug{"00074455290", "Synthroid (levothyroxine) 50 mcg tablet", "30", "UN", 30, true, 5620, 4730}
	inhaler       = drug{"00173068220", "Ventolin HFA 90 mcg inhaler", "18", "GR", 25, true, 7400, 6110}
	advair        = drug{"00173069600", "Advair Diskus 250/50", "60", "UN", 30, true, 49900, 42160}
)
