//! Settings, as an environment and as a file would give them.
#![no_main]

use bindu::settings::{Layers, Settings, registry::SETTINGS};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|values: Vec<(u8, String)>| {
    let mut environment = BTreeMap::new();
    for (number, value) in values {
        let setting = &SETTINGS[usize::from(number) % SETTINGS.len()];
        // Files are not this target's: their names would be real ones.
        let names_a_file = ["key_password_file", "vault.tls.ca_cert"].contains(&setting.key);
        if let Some(name) = setting.variables.first().filter(|_| !names_a_file) {
            environment.insert((*name).to_owned(), value);
        }
    }
    let nowhere = std::path::Path::new("/nonexistent");
    if let Ok(layers) = Layers::default().with_environment(environment, nowhere) {
        let _ = Settings::load(layers);
    }
});
