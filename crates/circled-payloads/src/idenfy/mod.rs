//! iDenfy's verification results, and its other webhooks.
//!
//! The source is iDenfy's documentation: the page of [the result
//! callback](https://documentation.idenfy.com/callbacks/ResultCallback), now
//! [Webhooks](https://documentation.idenfy.com/kyc/webhooks), with the fields in [the API
//! reference](https://documentation.idenfy.com/api-reference/webhooks/identification-expired) and the words in
//! [the vocabulary](https://documentation.idenfy.com/resources/vocabulary).
//!
//! A result is about a person: its `Debug` shows the status of the verification, and nothing of the person.

mod check;
mod other;
mod person;
mod status;
mod verification;

pub use check::{Check, CheckStatus, CheckVerdict};
pub use other::{
    AmlMonitoring, Company, FaceAuthentication, FaceAuthenticationStatus, MonitoringStatus,
};
pub use person::{AgeEstimate, DocumentType, Person, Sex};
pub use status::{
    AdditionalSteps, DocumentVerdict, FaceVerdict, FraudTag, MismatchTag, Overall, Screening,
    Status,
};
pub use verification::{Platform, RiskAssessment, RiskLevel, Urls, Verification};

#[cfg(test)]
use super::testing;
use super::{Fields, Personal, object, open_enum};
