//! iDenfy's webhooks besides results of verifications.

use super::{Check, Fields, Personal, object, open_enum};

object! {
    /// The result of [an authentication by
    /// face](https://documentation.idenfy.com/api-reference/webhooks/facial-authentication): `FACIAL_AUTHENTICATION`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FaceAuthentication {
        /// iDenfy's name for the verification that the face was compared with.
        pub scan_ref: String as "scanRef",
        /// The result.
        pub status: FaceAuthenticationStatus,
        /// Your id of the person to be recognized.
        pub client_id: Option<Personal> as "clientId",
        /// The name of the session.
        pub token: Option<Personal>,
        /// Usually `AUTHENTICATION`.
        pub kind: Option<String> as "type",
        /// The method of the comparison, like `FACE_MATCHING`.
        pub method: Option<String>,
        /// The address of the picture. Anyone who knows it can get the picture.
        pub face_photo: Option<Personal> as "facePhoto",
    }
}

open_enum! {
    /// The result of an authentication by face.
    pub enum FaceAuthenticationStatus {
        /// It was the same face.
        Success = "SUCCESS",
        /// It was another.
        Failed = "FAILED",
        /// Nobody came in time.
        Expired = "EXPIRED",
    }
}

object! {
    /// A finding of [AML monitoring](https://documentation.idenfy.com/api-reference/webhooks/aml-monitoring) about a
    /// person or a company.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AmlMonitoring {
        /// iDenfy's id of the monitoring.
        pub monitoring_id: String as "monitoringId",
        /// The status.
        pub status: Option<MonitoringStatus>,
        /// The same in older words: `ACCEPTED`, `ALERT`, `DECLINED`, `PENDING`.
        pub alert_status: Option<String> as "alertStatus",
        /// The first name, or that of the company.
        pub name: Option<Personal>,
        /// The last name.
        pub surname: Option<Personal>,
        /// Two capital letters.
        pub nationality: Option<Personal>,
        /// The date of birth.
        pub dob: Option<Personal>,
        /// True while the monitoring is active.
        pub is_active: Option<bool> as "isActive",
        /// The end of the monitoring.
        pub expiration: Option<String>,
        /// Verifications of the same person.
        pub scan_refs: Option<Vec<String>> as "scanRefList",
        /// The results from the lists.
        pub results: Option<Vec<Check>>,
    }
}

open_enum! {
    /// The status of AML monitoring.
    pub enum MonitoringStatus {
        /// There are no open findings.
        Active = "ACTIVE",
        /// Something was found.
        Alert = "ALERT",
        /// The monitoring has ended.
        Stopped = "STOPPED",
        /// The lists have not been asked yet.
        Pending = "PENDING",
    }
}

object! {
    /// The state of the verification of [a company](https://documentation.idenfy.com/kyb/webhooks): `COMPANY_SUBMIT`,
    /// `COMPANY_REVIEW` and others, by the header `Idenfy-Event-Type`. The findings are in `rest`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Company {
        /// iDenfy's name for the company, or in an AML review, for the review.
        pub id: Option<String>,
        /// In an AML review: iDenfy's name for the company.
        pub company_id: Option<String> as "companyId",
        /// Your name for it.
        pub client_id: Option<Personal> as "clientId",
        /// Another name that you have given.
        pub external_ref: Option<Personal> as "externalRef",
        /// The name.
        pub company_name: Option<Personal> as "companyName",
        /// Its number in its country's register.
        pub registration_number: Option<Personal> as "registrationNumber",
        /// True if the company is one person.
        pub sole_proprietor: Option<bool> as "soleProprietor",
        /// The time at which its form was submitted.
        pub submission_time: Option<String> as "submissionTime",
        /// The reasons for the denial.
        pub deny_reason: Option<String> as "denyReason",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{read, read_changed};
    use super::*;

    const FACE: &str = r#"{ "token": "token", "clientId": "user-1", "scanRef": "scan-1", "status": "SUCCESS", "type": "AUTHENTICATION", "method": "FACE_MATCHING", "facePhoto": null }"#;
    const MONITORING: &str = r#"{ "monitoringId": "m-1", "name": "Manfred", "surname": "Weber", "nationality": "DE", "dob": "1972-07-14", "isActive": true, "expiration": "2027-11-23", "scanRefList": ["scan-1"], "alertStatus": "ALERT", "status": "ALERT", "pepsStatus": "NOT_CHECKED", "results": [{ "status": { "serviceSuspected": true, "overallStatus": "SUSPECTED" }, "serviceName": "PilotApiAmlV2", "data": [] }], "amlCheck": null }"#;
    const COMPANY: &str = r#"{ "id": "c-1", "companyName": "Ltd", "registrationNumber": null, "soleProprietor": false, "denyReason": null, "beneficiaries": [] }"#;

    #[test]
    fn each_is_read_and_prints_nobody() {
        let face: FaceAuthentication = read(FACE);
        assert_eq!(face.status, FaceAuthenticationStatus::Success);
        let monitoring: AmlMonitoring = read(MONITORING);
        assert_eq!(monitoring.status, Some(MonitoringStatus::Alert));
        assert_eq!(monitoring.results.as_ref().map(Vec::len), Some(1));
        let company: Company = read(COMPANY);
        assert_eq!(company.id.as_deref(), Some("c-1"));
        let printed = format!("{face:?} {monitoring:?} {company:?}");
        for personal in ["user-1", "Manfred", "Weber", "1972", "Ltd"] {
            assert!(!printed.contains(personal), "{printed}");
        }
    }

    #[test]
    fn changed_texts_lose_nothing() {
        read_changed::<FaceAuthentication>(FACE);
        read_changed::<AmlMonitoring>(MONITORING);
        read_changed::<Company>(COMPANY);
    }
}
