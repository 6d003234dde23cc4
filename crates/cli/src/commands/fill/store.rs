//! Where vectors and answers are kept between fillings: apart for every service, in memory for a simulated one.

use std::path::PathBuf;
use std::sync::Arc;

use tidegate_template::Store;

use crate::exit_code::Failure;
use crate::screen::Screen;
use crate::settings::Settings;

/// The folder of everything that templates keep, below the state folder.
const FOLDER: &str = "templates";

/// The store of these settings; none where there is no folder for it, which is told.
///
/// # Errors
/// When there is not even memory.
pub fn open(settings: &Settings, simulated: bool, screen: &Screen) -> Result<Option<Arc<Store>>, Failure> {
    let store = match folder(settings) {
        _ if simulated => Store::in_memory().map_err(Failure::usage)?,
        Some(folder) => match Store::open(&folder) {
            Ok(store) => store,
            Err(fault) => {
                screen.warn(format!("nothing is kept for later: {fault}"));
                return Ok(None);
            }
        },
        None => return Ok(None),
    };
    Ok(Some(Arc::new(store.most_answers(settings.template.cache_size))))
}

/// The answers of a test server must never pass for those of the API.
pub fn folder(settings: &Settings) -> Option<PathBuf> {
    let service: String = settings
        .base_url
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
        .collect();
    Some(settings.state_dir.as_ref()?.join(FOLDER).join(service))
}
