//! What iDenfy says besides results of verifications.

use super::{Check, Fields, Personal, object, open_enum};

object! {
    /// How [an authentication by face](https://documentation.idenfy.com/api-reference/webhooks/facial-authentication)
    /// ended: `FACIAL_AUTHENTICATION`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FaceAuthentication {
        /// iDenfy's name for the verification that the face was compared with.
        pub scan_ref: String as "scanRef",
        /// How it ended.
        pub status: FaceAuthenticationStatus,
        /// Your name for whoever was to be recognized.
        pub client_id: Option<Personal> as "clientId",
        /// The name of the session.
        pub token: Option<Personal>,
        /// `AUTHENTICATION`, as a rule.
        pub kind: Option<String> as "type",
        /// How faces were compared, like `FACE_MATCHING`.
        pub method: Option<String>,
        /// Where the picture is. Anyone who knows the address can get it.
        pub face_photo: Option<Personal> as "facePhoto",
    }
}

open_enum! {
    /// How an authentication by face ended.
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
    /// What [AML monitoring](https://documentation.idenfy.com/api-reference/webhooks/aml-monitoring) has found about
    /// somebody, or a company.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct AmlMonitoring {
        /// iDenfy's name for what is monitored.
        pub monitoring_id: String as "monitoringId",
        /// How it stands.
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
        /// Whether it goes on.
        pub is_active: Option<bool> as "isActive",
        /// When it ends.
        pub expiration: Option<String>,
        /// Verifications of the same person.
        pub scan_refs: Option<Vec<String>> as "scanRefList",
        /// What the lists say.
        pub results: Option<Vec<Check>>,
    }
}

open_enum! {
    /// How AML monitoring stands.
    pub enum MonitoringStatus {
        /// Nothing that isn't settled was found.
        Active = "ACTIVE",
        /// Something was found.
        Alert = "ALERT",
        /// It goes on no more.
        Stopped = "STOPPED",
        /// The lists have not been asked yet.
        Pending = "PENDING",
    }
}

object! {
    /// How the verification of [a company](https://documentation.idenfy.com/kyb/webhooks) stands: `COMPANY_SUBMIT`,
    /// `COMPANY_REVIEW` and others, as the header `Idenfy-Event-Type` says. What was found is in `rest`.
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
        /// What it is called.
        pub company_name: Option<Personal> as "companyName",
        /// Its number in its country's register.
        pub registration_number: Option<Personal> as "registrationNumber",
        /// Whether it is one person.
        pub sole_proprietor: Option<bool> as "soleProprietor",
        /// When its form was sent in.
        pub submission_time: Option<String> as "submissionTime",
        /// Why it was denied.
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
    fn whatever_else_comes_loses_nothing() {
        read_changed::<FaceAuthentication>(FACE);
        read_changed::<AmlMonitoring>(MONITORING);
        read_changed::<Company>(COMPANY);
    }
}
