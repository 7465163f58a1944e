//! Identities of people.

use std::fmt;

use super::{Fields, RiskLevel, object, open_enum};

object! {
    /// The identity of a person, as read from their document. `Debug` shows nothing of it.
    ///
    /// Dates are as iDenfy has read them, like `1990-01-31`; countries are two capital letters. The fields
    /// `org_...` are in the letters of the document.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Person {
        /// Given names.
        pub doc_first_name: Option<String> as "docFirstName",
        /// Family name.
        pub doc_last_name: Option<String> as "docLastName",
        /// All names.
        pub full_name: Option<String> as "fullName",
        /// The document's number.
        pub doc_number: Option<String> as "docNumber",
        /// The person's number in their country.
        pub doc_personal_code: Option<String> as "docPersonalCode",
        /// The date on which the document expires.
        pub doc_expiry: Option<String> as "docExpiry",
        /// The date of birth.
        pub doc_dob: Option<String> as "docDob",
        /// The date on which the document was issued.
        pub doc_date_of_issue: Option<String> as "docDateOfIssue",
        /// The kind of document.
        pub doc_type: Option<DocumentType> as "docType",
        /// The sex, according to the document.
        pub doc_sex: Option<Sex> as "docSex",
        /// The country that the person belongs to.
        pub doc_nationality: Option<String> as "docNationality",
        /// The country that has issued the document.
        pub doc_issuing_country: Option<String> as "docIssuingCountry",
        /// The country that the person has chosen.
        pub selected_country: Option<String> as "selectedCountry",
        /// The place of birth.
        pub birth_place: Option<String> as "birthPlace",
        /// The authority that issued the document.
        pub authority: Option<String>,
        /// The address.
        pub address: Option<String>,
        /// The temporary address.
        pub doc_temporary_address: Option<String> as "docTemporaryAddress",
        /// The family name of the person's mother before she married.
        pub mothers_maiden_name: Option<String> as "mothersMaidenName",
        /// The family name at birth.
        pub doc_birth_name: Option<String> as "docBirthName",
        /// The name after the father.
        pub doc_patronymic: Option<String> as "docPatronymic",
        /// The categories of the driving licence, like `AM/A/B1`.
        pub driver_license_category: Option<String> as "driverLicenseCategory",
        /// True if somebody at iDenfy has corrected any of this.
        pub manually_data_changed: Option<bool> as "manuallyDataChanged",
        /// Given names.
        pub org_first_name: Option<String> as "orgFirstName",
        /// Family name.
        pub org_last_name: Option<String> as "orgLastName",
        /// The country that the person belongs to.
        pub org_nationality: Option<String> as "orgNationality",
        /// The place of birth.
        pub org_birth_place: Option<String> as "orgBirthPlace",
        /// The authority that issued the document.
        pub org_authority: Option<String> as "orgAuthority",
        /// The address.
        pub org_address: Option<String> as "orgAddress",
        /// The temporary address.
        pub org_temporary_address: Option<String> as "orgTemporaryAddress",
        /// The family name of the person's mother before she married.
        pub org_mothers_maiden_name: Option<String> as "orgMothersMaidenName",
        /// The family name at birth.
        pub org_birth_name: Option<String> as "orgBirthName",
        /// The name after the father.
        pub org_patronymic: Option<String> as "orgPatronymic",
        /// The estimated age.
        pub age_estimate: Option<AgeEstimate> as "ageEstimate",
        /// The likelihood that the IP address is a proxy's.
        pub client_ip_proxy_risk_level: Option<RiskLevel> as "clientIpProxyRiskLevel",
        /// The `scan_ref`s of verifications with the same face.
        pub duplicate_faces: Option<Vec<String>> as "duplicateFaces",
        /// The `scan_ref`s of verifications with the same face on the document.
        pub duplicate_doc_faces: Option<Vec<String>> as "duplicateDocFaces",
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").finish_non_exhaustive()
    }
}

open_enum! {
    /// A kind of document.
    pub enum DocumentType {
        /// An identity card.
        IdCard = "ID_CARD",
        /// A passport.
        Passport = "PASSPORT",
        /// A residence permit.
        ResidencePermit = "RESIDENCE_PERMIT",
        /// A driving licence.
        DriverLicense = "DRIVER_LICENSE",
        /// A driving licence for learners.
        ProvisionalDriverLicense = "PROVISIONAL_DRIVER_LICENSE",
        /// A passport for the country itself.
        NationalPassport = "NATIONAL_PASSPORT",
        /// A passport for abroad.
        InternationalPassport = "INTERNATIONAL_PASSPORT",
        /// A visa.
        Visa = "VISA",
        /// An identity card of an older kind.
        OldIdCard = "OLD_ID_CARD",
        /// A tax card of India.
        PanCard = "PAN_CARD",
        /// An identity card of India.
        Aadhaar = "AADHAAR",
        /// A card of the military.
        MilitaryCard = "MILITARY_CARD",
        /// A card with an address.
        AddressCard = "ADDRESS_CARD",
        /// A permit to cross a border.
        BorderCrossing = "BORDER_CROSSING",
        /// A paper of somebody who seeks asylum.
        Asylum = "ASYLUM",
        /// A card with a photograph.
        PhotoCard = "PHOTO_CARD",
        /// A proof of age.
        ProofOfAgeCard = "PROOF_OF_AGE_CARD",
        /// A travel card.
        TravelCard = "TRAVEL_CARD",
        /// A social security card.
        SocialSecurityCard = "SOCIAL_SECURITY_CARD",
        /// A voter's card.
        VoterCard = "VOTER_CARD",
        /// A diplomat's card.
        DiplomaticId = "DIPLOMATIC_ID",
        /// A work permit.
        WorkPermit = "WORK_PERMIT",
        /// Another one, in iDenfy's own word.
        Unspecified = "OTHER",
    }
}

open_enum! {
    /// The sex, according to a document.
    pub enum Sex {
        /// Male.
        Male = "MALE",
        /// Female.
        Female = "FEMALE",
        /// Nothing, or neither.
        Undefined = "UNDEFINED",
    }
}

open_enum! {
    /// The estimated age of a face, in years.
    pub enum AgeEstimate {
        /// Below 13.
        Under13 = "UNDER_13",
        /// 13 and above.
        Over13 = "OVER_13",
        /// 18 and above.
        Over18 = "OVER_18",
        /// 22 and above.
        Over22 = "OVER_22",
        /// 25 and above.
        Over25 = "OVER_25",
        /// 30 and above.
        Over30 = "OVER_30",
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::read;
    use super::*;

    #[test]
    fn debug_shows_nothing_of_a_person() {
        let person: Person =
            read(r#"{ "docFirstName": "JANE", "docSex": "FEMALE", "eyes": "GREEN" }"#);
        assert_eq!(person.doc_sex, Some(Sex::Female));
        assert_eq!(format!("{person:?}"), "Person { .. }");
    }
}
