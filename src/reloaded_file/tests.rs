use super::*;

fn open(path: &Path) -> Result<ReloadedFile<u32>, String> {
    ReloadedFile::open(vec![path.to_owned()], ReloadedFileKind::Users, &Metrics::default(), number)
}

fn number(contents: &[Vec<u8>]) -> Result<u32, String> {
    String::from_utf8_lossy(&contents[0]).trim().parse().map_err(|_| "no number".to_owned())
}

#[test]
fn a_changed_file_is_reloaded_and_an_invalid_one_keeps_the_previous_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    assert!(open(&path).is_err());
    fs::write(&path, "1").unwrap();
    let file = open(&path).unwrap();
    assert_eq!(*file.current(), 1);
    // Editors and Kubernetes replace the file: another file under the same name.
    for (text, expected) in [("22", 22), ("bad", 22), ("333", 333)] {
        let new = folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        file.check_now();
        assert_eq!(*file.current(), expected);
    }
    fs::remove_file(&path).unwrap();
    file.check_now();
    assert_eq!(*file.current(), 333);
}
