//! The status of a verification.

use super::{Fields, object, open_enum};

object! {
    /// The status of a verification, and its reasons.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Status {
        /// The overall result.
        pub overall: Overall,
        /// The automatic verdict on the document.
        pub auto_document: Option<DocumentVerdict> as "autoDocument",
        /// The automatic verdict on the face.
        pub auto_face: Option<FaceVerdict> as "autoFace",
        /// The manual verdict on the document.
        pub manual_document: Option<DocumentVerdict> as "manualDocument",
        /// The manual verdict on the face.
        pub manual_face: Option<FaceVerdict> as "manualFace",
        /// The manual verdict on additional steps, like a utility bill.
        pub additional_steps: Option<AdditionalSteps> as "additionalSteps",
        /// Signs of fraud.
        pub fraud_tags: Option<Vec<FraudTag>> as "fraudTags",
        /// Signs of fraud. Newer results have `fraud_tags` instead.
        pub suspicion_reasons: Option<Vec<FraudTag>> as "suspicionReasons",
        /// Data that differs from yours.
        pub mismatch_tags: Option<Vec<MismatchTag>> as "mismatchTags",
        /// The reasons for the denial.
        pub deny_reasons: Option<Vec<String>> as "denyReasons",
        /// The result of all lists together.
        pub aml_result_class: Option<Screening> as "amlResultClass",
        /// The result from lists of politically exposed people.
        pub peps_status: Option<Screening> as "pepsStatus",
        /// The result from lists of sanctioned people.
        pub sanctions_status: Option<Screening> as "sanctionsStatus",
        /// The result from the news.
        pub adverse_media_status: Option<Screening> as "adverseMediaStatus",
    }
}

open_enum! {
    /// The overall result of a verification.
    pub enum Overall {
        /// The identity is confirmed.
        Approved = "APPROVED",
        /// The identity is wrong, or can't be confirmed.
        Denied = "DENIED",
        /// The tags name something suspicious. If document and face are right nevertheless, you decide.
        Suspected = "SUSPECTED",
        /// Somebody at iDenfy looks at it.
        Reviewing = "REVIEWING",
        /// It was not done in time.
        Expired = "EXPIRED",
        /// It is to be done.
        Active = "ACTIVE",
        /// Its data has been deleted.
        Deleted = "DELETED",
        /// It was not done in time, and its data has been deleted.
        ExpiredDeleted = "EXPIRED-DELETED",
        /// Its data has been put away.
        Archived = "ARCHIVED",
    }
}

open_enum! {
    /// A verdict on a face.
    pub enum FaceVerdict {
        /// It is the one on the document.
        Match = "FACE_MATCH",
        /// It isn't the one on the document.
        Mismatch = "FACE_MISMATCH",
        /// The face was not to be checked.
        NotChecked = "FACE_NOT_CHECKED",
        /// There is no face.
        NotFound = "NO_FACE_FOUND",
        /// There is more than one.
        TooMany = "TOO_MANY_FACES",
        /// It is too blurry.
        TooBlurry = "FACE_TOO_BLURRY",
        /// There is glare on it.
        Glared = "FACE_GLARED",
        /// The result is uncertain.
        Uncertain = "FACE_UNCERTAIN",
        /// Not analysed, because it was denied for another reason.
        NotAnalysed = "FACE_NOT_ANALYSED",
        /// Something went wrong.
        Error = "FACE_ERROR",
        /// It can't be verified automatically.
        AutoUnverifiable = "AUTO_UNVERIFIABLE",
        /// It is no real face.
        Fake = "FAKE_FACE",
    }
}

open_enum! {
    /// A verdict on a document.
    pub enum DocumentVerdict {
        /// It is right.
        Validated = "DOC_VALIDATED",
        /// Its data is contradictory.
        InfoMismatch = "DOC_INFO_MISMATCH",
        /// There is no document.
        NotFound = "DOC_NOT_FOUND",
        /// A part is missing.
        NotFullyVisible = "DOC_NOT_FULLY_VISIBLE",
        /// There is no face on it.
        FaceNotFound = "DOC_FACE_NOT_FOUND",
        /// It is too blurry.
        TooBlurry = "DOC_TOO_BLURRY",
        /// There is glare on it.
        Glared = "DOC_GLARED",
        /// There is glare on the face on it.
        FaceGlared = "DOC_FACE_GLARED",
        /// There is no machine-readable zone.
        MrzNotFound = "MRZ_NOT_FOUND",
        /// The machine-readable zone can't be read.
        MrzUnreadable = "MRZ_OCR_READING_ERROR",
        /// The machine-readable zone is wrong.
        MrzInvalid = "MRZ_INVALID",
        /// There is no bar code.
        BarcodeNotFound = "BARCODE_NOT_FOUND",
        /// It has expired.
        Expired = "DOC_EXPIRED",
        /// iDenfy can't check such documents.
        NotSupported = "DOC_NOT_SUPPORTED",
        /// You don't take such documents.
        NotAllowed = "DOC_NOT_ALLOWED",
        /// iDenfy can't check that country's documents.
        CountryNotSupported = "COUNTRY_NOT_SUPPORTED",
        /// It is from another country than stated.
        CountryMismatch = "COUNTRY_MISMATCH",
        /// It is of another kind than stated.
        TypeMismatch = "DOC_TYPE_MISMATCH",
        /// It is of another subtype than stated.
        SubtypeMismatch = "DOC_SUBTYPE_MISMATCH",
        /// It is another side than requested.
        SideMismatch = "DOC_SIDE_MISMATCH",
        /// It is damaged.
        Damaged = "DOC_DAMAGED",
        /// It is forged.
        Fake = "DOC_FAKE",
        /// It is a screen, or a print.
        SpoofDetected = "DOC_SPOOF_DETECTED",
        /// The person's number is wrong.
        PersonalCodeInvalid = "DOC_PERSONAL_CODE_INVALID",
        /// The given names can't be read.
        NameError = "DOC_NAME_ERROR",
        /// The family name can't be read.
        SurnameError = "DOC_SURNAME_ERROR",
        /// The expiry date can't be read.
        ExpiryError = "DOC_EXPIRY_ERROR",
        /// The date of birth can't be read.
        DobError = "DOC_DOB_ERROR",
        /// The person's number can't be read.
        PersonalNumberError = "DOC_PERSONAL_NUMBER_ERROR",
        /// The document's number can't be read.
        NumberError = "DOC_NUMBER_ERROR",
        /// The date of issue can't be read.
        DateOfIssueError = "DOC_DATE_OF_ISSUE_ERROR",
        /// The person's sex can't be read.
        SexError = "DOC_SEX_ERROR",
        /// The person's nationality can't be read.
        NationalityError = "DOC_NATIONALITY_ERROR",
        /// Not analysed, because it was denied for another reason.
        NotAnalysed = "DOC_NOT_ANALYSED",
        /// Something went wrong.
        Error = "DOC_ERROR",
        /// It can't be verified automatically.
        AutoUnverifiable = "AUTO_UNVERIFIABLE",
        /// The electronic identity didn't work.
        EidFailed = "EID_FAILED",
        /// The chip could not be addressed.
        NfcInitFailed = "NFC_INIT_FAILED",
        /// The chip could not be read.
        NfcFailed = "NFC_FAILED",
        /// The chip was not read in time.
        NfcTimeout = "NFC_TIMEOUT",
    }
}

open_enum! {
    /// A verdict on additional steps.
    pub enum AdditionalSteps {
        /// They are right.
        Valid = "VALID",
        /// They are wrong.
        Invalid = "INVALID",
        /// They are missing.
        NotFound = "NOT_FOUND",
    }
}

open_enum! {
    /// [Something that looks like fraud](https://documentation.idenfy.com/callbacks/Suspicions).
    pub enum FraudTag {
        /// The face has been put on your list of unwanted ones after this.
        FaceInBlacklist = "FACE_IN_BLACKLIST",
        /// The face on the document has been put on your list of unwanted ones after this.
        DocFaceInBlacklist = "DOC_FACE_IN_BLACKLIST",
        /// The data is on your list of unwanted ones.
        DataBlacklisted = "DATA_BLACKLISTED",
        /// The data has been put on your list of unwanted ones after this.
        DataInBlacklist = "DATA_IN_BLACKLIST",
        /// An earlier verification has the same face.
        DuplicateFace = "DUPLICATE_FACE",
        /// An earlier verification has the same face on the document.
        DuplicateDocFace = "DUPLICATE_DOC_FACE",
        /// An earlier verification has the same data.
        DuplicatePersonalData = "DUPLICATE_PERSONAL_DATA",
        /// The camera is probably a program.
        VirtualCamera = "VIRTUAL_CAMERA",
        /// The utility company could not be asked.
        UrjanetFailure = "URJANET_FAILURE",
        /// The address could not be checked.
        UtilityAddressCheckFailure = "UTILITY_ADDRESS_CHECK_FAILURE",
        /// The address is not known to be right.
        AddressUnverified = "ADDRESS_UNVERIFIED",
        /// The photograph on the document may have been swapped.
        PortraitSubstitution = "PORTRAIT_SUBSTITUTION",
        /// The face may not be real.
        FaceSuspected = "FACE_SUSPECTED",
        /// The face is on your list of unwanted ones.
        FaceBlacklisted = "FACE_BLACKLISTED",
        /// The face on the document is on your list of unwanted ones.
        DocFaceBlacklisted = "DOC_FACE_BLACKLISTED",
        /// The document is on the screen of a phone.
        DocMobilePhoto = "DOC_MOBILE_PHOTO",
        /// The browser's developer tools were open.
        DevToolsOpened = "DEV_TOOLS_OPENED",
        /// The document is a print.
        DocPrintSpoofed = "DOC_PRINT_SPOOFED",
        /// A photograph is not real.
        FakePhoto = "FAKE_PHOTO",
        /// The person may be politically exposed or sanctioned.
        AmlSuspicion = "AML_SUSPECTION",
        /// Lists of such people could not be asked.
        AmlFailed = "AML_FAILED",
        /// The document is reported lost or invalid.
        LidSuspicion = "LID_SUSPECTION",
        /// Lists of such documents could not be asked.
        LidFailed = "LID_FAILED",
        /// The person may be sanctioned.
        SanctionsSuspicion = "SANCTIONS_SUSPECTION",
        /// Lists of such people could not be asked.
        SanctionsFailed = "SANCTIONS_FAILED",
        /// The person may have a criminal record.
        CriminalSuspected = "CRIMINAL_SUSPECTED",
        /// Criminal records could not be asked.
        CriminalCheckFailed = "CRIMINAL_CHECK_FAILED",
        /// The country's register could not be asked.
        RegistryCheckFailed = "RC_FAILED",
        /// The driving licence could not be checked.
        DriverLicenseCheckFailed = "DL_FAILED",
        /// It can't be verified automatically.
        AutoUnverifiable = "AUTO_UNVERIFIABLE",
    }
}

open_enum! {
    /// [Data that differs from yours](https://documentation.idenfy.com/callbacks/Suspicions).
    pub enum MismatchTag {
        /// The given names.
        Name = "NAME",
        /// The family name.
        Surname = "SURNAME",
        /// All names.
        FullName = "FULL_NAME",
        /// The document's number.
        DocumentNumber = "DOCUMENT_NUMBER",
        /// The person's number.
        PersonalCode = "PERSONAL_CODE",
        /// The date on which the document expires.
        ExpiryDate = "EXPIRY_DATE",
        /// The date of birth.
        DateOfBirth = "DATE_OF_BIRTH",
        /// The date on which the document was issued.
        DateOfIssue = "DATE_OF_ISSUE",
        /// The nationality.
        Nationality = "NATIONALITY",
        /// The sex.
        Sex = "SEX",
        /// The data on the document is contradictory.
        DocInfoMismatch = "DOC_INFO_MISMATCH",
        /// The person is too young.
        UnderAge = "UNDER_AGE",
        /// The person is too old.
        OverAge = "OVER_AGE",
        /// The age is unknown.
        UnknownAge = "UNKNOWN_AGE",
        /// The address on the utility bill.
        UtilityAddress = "UTILITY_ADDRESS",
        /// The name on the utility bill.
        UtilityName = "UTILITY_NAME",
        /// The utility bill is too old.
        ExpiredUtilityBill = "EXPIRED_UTILITY_BILL",
        /// An additional step is wrong.
        InvalidAdditionalStep = "INVALID_ADDITIONAL_STEP",
        /// An additional step is missing.
        AdditionalStepNotFound = "ADDITIONAL_STEP_NOT_FOUND",
        /// The data of an additional step.
        AdditionalStepInformation = "ADDITIONAL_STEP_INFORMATION_MISMATCH",
        /// The data of an additional step is too old.
        ExpiredAdditionalStepInformation = "EXPIRED_ADDITIONAL_STEP_INFORMATION",
        /// The data of other sources.
        GdcNotMatch = "GDC_NOT_MATCH",
        /// The data of the country's register.
        RegistryCenterInfo = "REGISTRY_CENTER_INFO_MISMATCH",
        /// The data of the register of driving licences.
        DriverLicenseInfo = "DRIVER_LICENSE_INFO_MISMATCH",
    }
}

open_enum! {
    /// The result from lists about a person.
    pub enum Screening {
        /// They were not asked.
        NotChecked = "NOT_CHECKED",
        /// Nothing.
        NoFlags = "NO_FLAGS",
        /// Somebody like that is on one.
        FlagsFound = "FLAGS_FOUND",
        /// It is that person who is on one.
        TruePositive = "TRUE_POSITIVE",
        /// It is somebody else who is on one.
        FalsePositive = "FALSE_POSITIVE",
    }
}
