//! Golden files: what is stored, and what servers send one another, as each version has written it.
//!
//! `tests/kept/forms/1/<name>.txt` is the first form of a thing, that in `2/` the next one. This version writes the last
//! one, and reads all of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

/// The variable that has a changed form added.
const KEEP: &str = "CIRCLED_TEST_KEEP";

/// Checks a form. `read` decodes it, and encodes what was read as this version does.
pub(crate) fn check(name: &str, written: &str, read: impl Fn(&str) -> Option<String>) {
    let read_file = |number| fs::read_to_string(file(name, number)).ok();
    let texts = (1..).map_while(read_file);
    let mut kept: Vec<_> = texts.map(|text| text.trim_end().to_owned()).collect();
    if kept.last().is_none_or(|last| last != written) {
        let last = kept.last().map_or("missing", String::as_str);
        assert!(
            std::env::var_os(KEEP).is_some(),
            "the form of \"{name}\" has changed. It was:\n{last}\nand is:\n{written}\n\
             Earlier data and earlier servers have the old form: give a new field a default, and keep old names. Then \
             add the new form with {KEEP}=1."
        );
        let new = file(name, kept.len() + 1);
        fs::create_dir_all(new.parent().unwrap()).unwrap();
        fs::write(new, format!("{written}\n")).unwrap();
        kept.push(written.to_owned());
    }
    assert_eq!(read(written).as_deref(), Some(written), "{name}");
    for (n, earlier) in kept.iter().enumerate() {
        let number = n + 1;
        assert!(
            read(earlier).is_some(),
            "form {number} of \"{name}\" can't be read"
        );
    }
}

/// Does the same for JSON, whose objects at these pointers may have more fields in a later version.
pub(crate) fn check_json(
    name: &str,
    written: &str,
    objects: &[&str],
    read: impl Fn(&str) -> Option<String>,
) {
    check(name, written, &read);
    for pointer in objects {
        let mut later = circled_json::parse(written).unwrap();
        let object = later.pointer_mut(pointer).and_then(Value::as_object_mut);
        let fields: &mut Map<_, _> = object.unwrap();
        fields.insert("of_a_later_version".to_owned(), json!([{ "a": 1 }]));
        let read = read(&later.to_string());
        assert_eq!(
            read.as_deref(),
            Some(written),
            "{name}: more at \"{pointer}\""
        );
    }
}

fn file(name: &str, number: usize) -> PathBuf {
    let forms = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kept/forms");
    forms.join(number.to_string()).join(format!("{name}.txt"))
}
