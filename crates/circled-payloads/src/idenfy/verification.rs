//! The result as a whole.

use std::collections::BTreeMap;

use super::{Check, Fields, Person, Personal, Status, object, open_enum};

object! {
    /// The result of the verification of somebody's identity.
    ///
    /// There may be more than one result for a `scan_ref`. One with `is_final` counts, even if one without it
    /// comes later.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Verification {
        /// True if the result is final. Otherwise a person at iDenfy checks it, and another result follows.
        pub is_final: bool as "final",
        /// iDenfy's id of the verification, usually a UUID.
        pub scan_ref: String as "scanRef",
        /// The status.
        pub status: Status,
        /// Your id of the person.
        pub client_id: Option<Personal> as "clientId",
        /// Another name that you have given.
        pub external_ref: Option<Personal> as "externalRef",
        /// iDenfy's name for the company that the person belongs to, if a company is being verified.
        pub company_id: Option<String> as "companyId",
        /// iDenfy's name for the person as a beneficiary of that company.
        pub beneficiary_id: Option<String> as "beneficiaryId",
        /// The platform that the person used.
        pub platform: Option<Platform>,
        /// The time at which the person began, in seconds since 1970.
        pub start_time: Option<i64> as "startTime",
        /// The time of the automatic decision, in seconds since 1970.
        pub finish_time: Option<i64> as "finishTime",
        /// The data from the document.
        pub data: Option<Person>,
        /// The addresses of pictures and films: `FRONT`, `BACK`, `FACE`, `FRONT_VIDEO` and so on.
        pub file_urls: Option<Urls> as "fileUrls",
        /// The addresses of PDF files, by additional step, like `UTILITY_BILL`.
        pub additional_step_pdf_urls: Option<Urls> as "additionalStepPdfUrls",
        /// The results from lists of politically exposed and sanctioned people (anti-money-laundering).
        pub aml: Option<Vec<Check>> as "AML",
        /// The results from lists of lost and invalid documents.
        pub lid: Option<Vec<Check>> as "LID",
        /// The results from criminal records.
        pub criminal_check: Option<Vec<Check>> as "CRIMINAL_CHECK",
        /// The IP address.
        pub client_ip: Option<Personal> as "clientIp",
        /// The country of the IP address: two capital letters.
        pub client_ip_country: Option<Personal> as "clientIpCountry",
        /// The location of the IP address, like `Kaunas, Lithuania`.
        pub client_location: Option<Personal> as "clientLocation",
        /// The address on a utility bill.
        pub manual_address: Option<Personal> as "manualAddress",
        /// True if that is the address that you gave.
        pub manual_address_match: Option<bool> as "manualAddressMatch",
        /// True if other sources know the person.
        pub gdc_match: Option<bool> as "gdcMatch",
        /// The risk by your rules.
        pub risk_assessment: Option<RiskAssessment> as "riskAssessment",
    }
}

/// Addresses of files by name. Anyone who knows an address can get the file.
pub type Urls = BTreeMap<String, Option<Personal>>;

open_enum! {
    /// The platform of a verification.
    pub enum Platform {
        /// A computer.
        Pc = "PC",
        /// A browser on a phone.
        Mobile = "MOBILE",
        /// A tablet.
        Tablet = "TABLET",
        /// iDenfy's app.
        MobileApp = "MOBILE_APP",
        /// Your app, with iDenfy's kit in it.
        MobileSdk = "MOBILE_SDK",
        /// Another one, in iDenfy's own word.
        Unspecified = "OTHER",
    }
}

object! {
    /// The risk of a person.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RiskAssessment {
        /// From 0 to 100.
        pub risk_score: Option<i64> as "riskScore",
        /// The same in a word.
        pub risk_level: Option<RiskLevel> as "riskLevel",
    }
}

open_enum! {
    /// A level of risk.
    pub enum RiskLevel {
        /// Hardly at all.
        VeryLow = "VERY_LOW",
        /// A little.
        Low = "LOW",
        /// Somewhat.
        Medium = "MEDIUM",
        /// Risky.
        High = "HIGH",
        /// Very risky.
        VeryHigh = "VERY_HIGH",
        /// The risk was not checked.
        NotChecked = "NOT_CHECKED",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{read, read_changed};
    use super::super::{
        AdditionalSteps, DocumentVerdict, FaceVerdict, FraudTag, MismatchTag, Overall, Screening,
    };
    use super::*;

    const APPROVED: &str = r#"{"final": true, "platform": "PC", "status": {"overall": "APPROVED", "fraudTags": [], "mismatchTags": [], "autoDocument": "DOC_VALIDATED", "autoFace": "FACE_MATCH", "manualDocument": "DOC_VALIDATED", "manualFace": "FACE_MATCH", "additionalSteps": null}, "data": {"docFirstName": "FIRST-NAME-EXAMPLE", "docLastName": "LAST-NAME-EXAMPLE", "docNumber": "XXXXXXXXX", "docExpiry": "2030-12-31", "docDob": "1990-01-31", "docType": "ID_CARD", "docSex": "UNDEFINED", "docNationality": "LT", "docIssuingCountry": "LT", "selectedCountry": "LT"}, "fileUrls": {}, "scanRef": "3aa7b2bc-8a1d-4d0e-9f4b-5a4d2f6d0b7e", "clientId": "user-1", "startTime": 1554726960, "finishTime": 1554727002, "clientIp": "192.0.2.0", "clientIpCountry": "LT"}"#;

    /// A result with all fields that iDenfy sends.
    const DENIED: &str = r#"{
        "final": true,
        "platform": "MOBILE_APP",
        "status": {
            "overall": "DENIED",
            "suspicionReasons": ["FACE_SUSPECTED"],
            "denyReasons": ["FACE_MISMATCH"],
            "fraudTags": ["DUPLICATE_FACE", "TIME_TRAVELLER"],
            "mismatchTags": ["NAME", "UNDER_AGE"],
            "autoFace": "FACE_MISMATCH",
            "manualFace": "FACE_MISMATCH",
            "autoDocument": "DOC_VALIDATED",
            "manualDocument": "DOC_DRAWN_BY_HAND",
            "additionalSteps": "INVALID",
            "amlResultClass": "FLAGS_FOUND",
            "pepsStatus": "NO_FLAGS",
            "sanctionsStatus": "TRUE_POSITIVE",
            "adverseMediaStatus": null
        },
        "data": {
            "docFirstName": "JONĖ",
            "docLastName": "PETRAITYTĖ",
            "docNumber": "LB1234567",
            "docPersonalCode": "49001310000",
            "docExpiry": "2031-05-17",
            "docDob": "1990-01-31",
            "docDateOfIssue": "2021-05-17",
            "docType": "PASSPORT",
            "docSex": "FEMALE",
            "docNationality": "LT",
            "docIssuingCountry": "LT",
            "birthPlace": "ŠILUVA",
            "authority": "MIGRACIJOS DEPARTAMENTAS",
            "address": "GEDIMINO PR. 1, VILNIUS",
            "docTemporaryAddress": null,
            "mothersMaidenName": null,
            "docBirthName": null,
            "docPatronymic": null,
            "driverLicenseCategory": null,
            "manuallyDataChanged": false,
            "fullName": "JONĖ PETRAITYTĖ",
            "selectedCountry": "LT",
            "orgFirstName": "JONĖ",
            "orgLastName": "PETRAITYTĖ",
            "orgNationality": "LIETUVOS",
            "orgBirthPlace": "ŠILUVA",
            "orgAuthority": null,
            "orgAddress": null,
            "orgTemporaryAddress": null,
            "orgMothersMaidenName": null,
            "orgPatronymic": null,
            "orgBirthName": null,
            "ageEstimate": "OVER_30",
            "clientIpProxyRiskLevel": "LOW",
            "duplicateFaces": ["79b1a9f2-0d2f-11ee-8a5c-0242ac120002"],
            "duplicateDocFaces": null,
            "additionalData": { "UTILITY_BILL": { "ssn": { "value": "078-05-1120", "status": "MATCH" } } },
            "docEyeColour": "GREEN"
        },
        "fileUrls": {
            "FRONT": "https://s3.eu-west-1.amazonaws.com/users/81c/FRONT.png?Signature=aaa&Expires=1554727602",
            "FACE": "https://s3.eu-west-1.amazonaws.com/users/81c/FACE.png?Signature=bbb&Expires=1554727602",
            "BACK": null
        },
        "additionalStepPdfUrls": { "UTILITY_BILL": "https://s3.eu-west-1.amazonaws.com/users/81c/bill.pdf?Signature=ccc" },
        "AML": [{
            "status": {
                "serviceSuspected": true, "checkSuccessful": true, "serviceFound": true,
                "serviceUsed": true, "overallStatus": "SUSPECTED"
            },
            "data": [{ "name": "JONE", "surname": "PETRAITYTE", "dob": "1990-01-31", "score": 97 }],
            "serviceName": "PilotApiAmlV2",
            "serviceGroupType": "AML",
            "uid": "OHT8GR5ESRF5XROWE5ZGCC123",
            "errorMessage": null
        }],
        "LID": [],
        "CRIMINAL_CHECK": null,
        "scanRef": "81c1d4ab-5d3c-4fca-9c6b-8c5b1d3f2a10",
        "externalRef": "jone@example.com",
        "clientId": "jone@example.com",
        "companyId": null,
        "beneficiaryId": null,
        "startTime": 1554726960,
        "finishTime": 1554727002,
        "clientIp": "192.0.2.44",
        "clientIpCountry": "LT",
        "clientLocation": "Kaunas, Lithuania",
        "gdcMatch": null,
        "manualAddress": "GEDIMINO PR. 1, VILNIUS",
        "manualAddressMatch": false,
        "additionalData": null,
        "questionnaireAnswers": { "title": "Income", "sections": [{ "title": "Work", "questions": [{ "key": "employer", "title": "Employer", "type": "TEXT", "value": "ACME UAB" }] }] },
        "riskAssessment": { "riskScore": 83, "riskLevel": "HIGH" },
        "addressVerification": { "address": "GEDIMINO PR. 1", "country": "LT", "status": "UNVERIFIED", "accuracy": 12.5 }
    }"#;

    const SUSPECTED_SO_FAR: &str = r#"{
        "final": false,
        "platform": "TABLET",
        "status": {
            "overall": "SUSPECTED",
            "suspicionReasons": [],
            "mismatchTags": ["DATE_OF_BIRTH", "ADDITIONAL_STEP_NOT_FOUND"],
            "fraudTags": ["AML_SUSPECTION"],
            "autoDocument": "DOC_VALIDATED",
            "autoFace": "FACE_MATCH",
            "manualDocument": null,
            "manualFace": null,
            "additionalSteps": "NOT_FOUND"
        },
        "data": { "docFirstName": "JANE", "docLastName": "DOE", "docDob": "1985-07-09", "manuallyDataChanged": null },
        "fileUrls": { "FRONT": "https://s3.eu-west-1.amazonaws.com/users/9f0/FRONT.png" },
        "scanRef": "9f0e2f0c-2b7a-46b1-9d7c-0f6ad2a9f3d7",
        "externalRef": null,
        "clientId": "user-2",
        "startTime": 1700000000,
        "finishTime": 1700000060
    }"#;

    const EXPIRED: &str = r#"{
        "final": true,
        "platform": "MOBILE",
        "status": {
            "overall": "EXPIRED", "suspicionReasons": [], "denyReasons": [], "fraudTags": [], "mismatchTags": [],
            "autoDocument": null, "autoFace": null, "manualDocument": null, "manualFace": null, "additionalSteps": null
        },
        "data": null,
        "fileUrls": null,
        "AML": null,
        "LID": null,
        "scanRef": "c0d4f1d8-55aa-4b0c-8a51-3b8f4b3c6a11",
        "externalRef": null,
        "clientId": "user-3",
        "startTime": null,
        "finishTime": null,
        "clientIp": null,
        "clientIpCountry": null,
        "clientLocation": null
    }"#;

    const ALL: [&str; 4] = [APPROVED, DENIED, SUSPECTED_SO_FAR, EXPIRED];

    #[test]
    fn an_approved_verification_is_read() {
        let verification: Verification = read(APPROVED);
        assert!(verification.is_final);
        assert_eq!(
            verification.scan_ref,
            "3aa7b2bc-8a1d-4d0e-9f4b-5a4d2f6d0b7e"
        );
        assert_eq!(verification.platform, Some(Platform::Pc));
        let status = verification.status;
        assert_eq!(status.overall, Overall::Approved);
        assert_eq!(status.manual_document, Some(DocumentVerdict::Validated));
        assert_eq!(status.manual_face, Some(FaceVerdict::Match));
        let person = verification.data.unwrap();
        assert_eq!(person.doc_first_name.as_deref(), Some("FIRST-NAME-EXAMPLE"));
    }

    #[test]
    fn a_denied_verification_says_why() {
        let verification: Verification = read(DENIED);
        let status = verification.status;
        assert_eq!(status.overall, Overall::Denied);
        assert_eq!(status.auto_face, Some(FaceVerdict::Mismatch));
        assert_eq!(
            status.mismatch_tags,
            Some(vec![MismatchTag::Name, MismatchTag::UnderAge])
        );
        assert_eq!(
            status.fraud_tags,
            Some(vec![
                FraudTag::DuplicateFace,
                FraudTag::Other("TIME_TRAVELLER".to_owned())
            ])
        );
        assert_eq!(
            status.manual_document.unwrap().as_str(),
            "DOC_DRAWN_BY_HAND"
        );
        assert_eq!(status.sanctions_status, Some(Screening::TruePositive));
        assert_eq!(status.adverse_media_status, None);
        let lists = verification.aml.unwrap();
        assert_eq!(lists[0].rest["data"][0]["score"], json!(97));
        let files = verification.file_urls.unwrap();
        assert_eq!((files.len(), &files["BACK"]), (3, &None));
        let risk = verification.risk_assessment.unwrap();
        assert_eq!(risk.risk_level, Some(RiskLevel::High));
    }

    #[test]
    fn a_preliminary_result_is_not_final() {
        let verification: Verification = read(SUSPECTED_SO_FAR);
        assert!(!verification.is_final);
        assert_eq!(verification.status.overall, Overall::Suspected);
        assert_eq!(verification.status.manual_face, None);
        let steps = verification.status.additional_steps;
        assert_eq!(steps, Some(AdditionalSteps::NotFound));
    }

    #[test]
    fn an_expired_verification_has_nobody_in_it() {
        let verification: Verification = read(EXPIRED);
        assert_eq!(verification.status.overall, Overall::Expired);
        assert_eq!((verification.data, verification.start_time), (None, None));
    }

    #[test]
    fn changed_results_lose_nothing_either() {
        for text in ALL {
            read_changed::<Verification>(text);
        }
    }

    #[test]
    fn a_verification_prints_nothing_of_a_person() {
        let verification: Verification = read(DENIED);
        let printed = format!("{verification:?} {verification:#?}");
        for shown in [&verification.scan_ref, "Denied", "UnderAge"] {
            assert!(printed.contains(shown), "no {shown} in {printed}");
        }
        for personal in [
            "JONĖ",
            "JONE",
            "PETRAITYT",
            "LB1234567",
            "49001310000",
            "1990",
            "2031",
            "PASSPORT",
            "FEMALE",
            "\"LT\"",
            "LIETUVOS",
            "ŠILUVA",
            "MIGRACIJOS",
            "GEDIMINO",
            "OVER_30",
            "79b1a9f2",
            "078-05-1120",
            "GREEN",
            "https://",
            "Signature",
            "jone@example.com",
            "192.0.2.44",
            "Kaunas",
            "ACME",
            "97",
            "12.5",
        ] {
            assert!(DENIED.contains(personal), "no {personal} came");
            assert!(!printed.contains(personal), "{personal} in {printed}");
        }
        for word in ["Passport", "Female", "Over30"] {
            assert!(!printed.contains(word), "{word} in {printed}");
        }
    }

    #[test]
    fn other_values_than_verifications_are_refused() {
        for (field, path) in [
            ("/final", "final"),
            ("/scanRef", "scanRef"),
            ("/status", "status"),
            ("/status/overall", "status.overall"),
            ("/data", "data"),
            ("/data/docDob", "data.docDob"),
            ("/clientIp", "clientIp"),
        ] {
            let mut verification: Value = circled_json::parse(APPROVED).unwrap();
            *verification.pointer_mut(field).unwrap() = json!(["JANE"]);
            let error = circled_json::from_value::<Verification>(verification).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("missing or of the wrong type: {path}")
            );
        }
        for field in ["final", "scanRef", "status"] {
            let mut verification: Value = circled_json::parse(APPROVED).unwrap();
            verification.as_object_mut().unwrap().remove(field);
            assert!(circled_json::from_value::<Verification>(verification).is_err());
        }
    }
}
