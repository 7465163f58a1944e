//! What other services say.

use super::{Fields, object, open_enum};

object! {
    /// What a service has said about somebody. What it has found is in `rest`, as `data`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Check {
        /// How it went.
        pub status: Option<CheckStatus>,
        /// Which service it is, like `PilotApiAmlV2`.
        pub service_name: Option<String> as "serviceName",
        /// What kind of service it is: `AML`, `LID` or `CRIMINAL_CHECK`.
        pub service_group_type: Option<String> as "serviceGroupType",
        /// Its name within the result.
        pub uid: Option<String>,
    }
}

object! {
    /// How a check went.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CheckStatus {
        /// Whether the service knows the person, or the document.
        pub service_suspected: Option<bool> as "serviceSuspected",
        /// Whether it has answered.
        pub check_successful: Option<bool> as "checkSuccessful",
        /// Whether there is one for the country.
        pub service_found: Option<bool> as "serviceFound",
        /// Whether it was asked.
        pub service_used: Option<bool> as "serviceUsed",
        /// What comes of it.
        pub overall_status: Option<CheckVerdict> as "overallStatus",
    }
}

open_enum! {
    /// What comes of a check.
    pub enum CheckVerdict {
        /// Something was found.
        Suspected = "SUSPECTED",
        /// Nothing was found.
        NotSuspected = "NOT_SUSPECTED",
    }
}
