use super::*;

fn open(path: &Path) -> Result<ReloadedFile<u32>, String> {
    ReloadedFile::open(vec![path.to_owned()], ReloadedFileKind::Users, &Metrics::default(), number)
}

fn number(contents: &[Vec<u8>]) -> Result<u32, String> {
    String::from_utf8_lossy(&contents[0]).trim().parse().map_err(|_| "no number".to_owned())
}

#[test]
fn a_change_counts_and_a_bad_file_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    assert!(open(&path).is_err());
    fs::write(&path, "1").unwrap();
    let watched = open(&path).unwrap();
    assert_eq!(*watched.current(), 1);
    // As editors and Kubernetes do it: another file under the same name.
    for (text, expected) in [("22", 22), ("bad", 22), ("333", 333)] {
        let new = folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        watched.look_again();
        assert_eq!(*watched.current(), expected);
    }
    fs::remove_file(&path).unwrap();
    watched.look_again();
    assert_eq!(*watched.current(), 333);
}
