//! Checks by other services.

use super::{Fields, object, open_enum};

object! {
    /// A service's result about somebody. The details are in `rest`, as `data`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Check {
        /// The status of the check.
        pub status: Option<CheckStatus>,
        /// The service, like `PilotApiAmlV2`.
        pub service_name: Option<String> as "serviceName",
        /// The kind of service: `AML`, `LID` or `CRIMINAL_CHECK`.
        pub service_group_type: Option<String> as "serviceGroupType",
        /// Its name within the result.
        pub uid: Option<String>,
    }
}

object! {
    /// The status of a check.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CheckStatus {
        /// True if the service lists the person, or the document.
        pub service_suspected: Option<bool> as "serviceSuspected",
        /// True if the service has answered.
        pub check_successful: Option<bool> as "checkSuccessful",
        /// True if there is a service for the country.
        pub service_found: Option<bool> as "serviceFound",
        /// True if the service was asked.
        pub service_used: Option<bool> as "serviceUsed",
        /// The verdict.
        pub overall_status: Option<CheckVerdict> as "overallStatus",
    }
}

open_enum! {
    /// The verdict of a check.
    pub enum CheckVerdict {
        /// Something was found.
        Suspected = "SUSPECTED",
        /// Nothing was found.
        NotSuspected = "NOT_SUSPECTED",
    }
}
