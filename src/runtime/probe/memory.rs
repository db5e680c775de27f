//! Checks that the arena gets huge pages.

use super::Finding;

const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// The finding about transparent huge pages.
pub fn huge_pages() -> Finding {
    judge(std::fs::read_to_string(ENABLED).ok().as_deref())
}

fn judge(enabled: Option<&str>) -> Finding {
    const NAME: &str = "huge pages";
    // "always [madvise] never": the bracketed mode is active.
    let mode = enabled.and_then(|s| s.split_once('[')?.1.split_once(']')).map(|(mode, _)| mode);
    match mode {
        Some(mode @ ("always" | "madvise")) => Finding::fine(NAME, mode),
        found => Finding::degraded(
            NAME,
            found.unwrap_or("not supported by this kernel"),
            format!("buffers use 4 KiB pages, and large writes cost more CPU: echo madvise > {ENABLED}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::probe::Level;

    #[test]
    fn the_bracketed_mode_is_the_active_one() {
        for (enabled, level) in [
            (Some("always [madvise] never\n"), Level::Fine),
            (Some("[always] madvise never\n"), Level::Fine),
            (Some("always madvise [never]\n"), Level::Degraded),
            (Some("rubbish"), Level::Degraded),
            (None, Level::Degraded),
        ] {
            assert_eq!(judge(enabled).level, level, "{enabled:?}");
        }
    }
}
