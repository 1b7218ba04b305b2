use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

fn key(class: Class) -> DeviceKey {
    DeviceKey {
        guest: DomId::new(3).unwrap(),
        class,
        device: 0,
    }
}

fn keys(pairs: &[(&str, &str)]) -> Keys {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const LIBXL_VIRTIO: &[(&str, &str)] = &[
    ("frontend", "/local/domain/3/device/virtio/0"),
    ("frontend-id", "3"),
    ("online", "1"),
    ("state", "1"),
    ("irq", "33"),
    ("base", "0x2000000"),
    ("type", "virtio,device2"),
    ("transport", "mmio"),
    ("grant_usage", "1"),
];

fn virtio_with(more: &[(&str, &str)]) -> Keys {
    let mut all = keys(LIBXL_VIRTIO);
    all.extend(keys(more));
    all
}

fn complete(class: Class, keys: &Keys) -> Folder {
    match parse(key(class), keys) {
        Ok(Parsed::Complete(folder)) => folder,
        other => panic!("{other:?}"),
    }
}

#[test]
fn libxls_keys_alone_make_an_empty_slot() {
    let folder = complete(Class::Virtio, &virtio_with(&[]));
    assert_eq!(
        folder.window,
        Window {
            base: 0x0200_0000,
            irq: 33
        }
    );
    assert_eq!(folder.wired_for, Memory::Grant);
    assert_eq!(folder.state, BusState::Initialising);
    assert!(folder.online);
    assert_eq!(folder.content, Content::Unsaid);
    assert!(!folder.error_shown);
}

#[test]
fn a_folder_still_being_written_is_not_an_error() {
    for missing in ["frontend-id", "state", "base", "irq"] {
        let mut partial = keys(LIBXL_VIRTIO);
        partial.remove(missing);
        assert_eq!(
            parse(key(Class::Virtio), &partial),
            Ok(Parsed::Incomplete(missing))
        );
    }
    assert!(matches!(
        parse(key(Class::Virtio), &Keys::new()),
        Ok(Parsed::Incomplete(_))
    ));
}

#[test]
fn avps_keys_count_only_once_their_version_is_there() {
    let parameters = [
        ("avps/kind", "block"),
        ("avps/image", "/srv/a.img"),
        ("avps/readonly", "1"),
        ("avps/memory", "foreign"),
        ("avps/block-size", "4096"),
        ("avps/serial", "S"),
        ("avps/cache", "writethrough"),
        ("avps/queues", "4"),
    ];
    let before = complete(Class::Virtio, &virtio_with(&parameters));
    assert_eq!(before.content, Content::Unsaid);

    let mut all = virtio_with(&parameters);
    all.insert("avps/version".into(), "1".into());
    let mut expected = BlockParameters::new(PathBuf::from("/srv/a.img"));
    expected.read_only = true;
    expected.memory = Some(Memory::Foreign);
    expected.block_size = 4096;
    expected.serial = "S".into();
    expected.cache = parameters::Cache::Writethrough;
    expected.queues = 4;
    assert_eq!(
        complete(Class::Virtio, &all).content,
        Content::Block(expected)
    );
}

#[test]
fn what_cannot_be_served_is_refused_in_words() {
    let refused = |more: &[(&str, &str)]| match complete(Class::Virtio, &virtio_with(more)).content
    {
        Content::Refused(error) => error,
        other => panic!("{other:?}"),
    };
    let base = [
        ("avps/version", "1"),
        ("avps/kind", "block"),
        ("avps/image", "/i"),
    ];
    let with = |name, value| {
        let mut all = base.to_vec();
        all.push((name, value));
        refused(&all)
    };
    assert!(matches!(with("avps/kind", "can"), FolderError::Kind(_)));
    assert!(matches!(
        with("type", "virtio,device22"),
        FolderError::Kind(_)
    ));
    assert!(matches!(with("avps/version", "2"), FolderError::Version(_)));
    assert!(
        with("avps/memory", "pool")
            .to_string()
            .contains("pre-shared region")
    );
    assert!(matches!(
        with("avps/block-size", "1"),
        FolderError::Parameter(_)
    ));
    assert!(with("avps/queues", "17").to_string().contains("1 to 16"));
    assert!(matches!(
        with("avps/readonly", "yes"),
        FolderError::Parameter(_)
    ));
    assert!(matches!(
        with("avps/image", "rel"),
        FolderError::Parameter(_)
    ));
    assert_eq!(
        refused(&[("avps/version", "1"), ("avps/kind", "block")]),
        FolderError::Missing("avps/image")
    );
    assert_eq!(
        refused(&[("avps/version", "1")]),
        FolderError::Missing("avps/kind")
    );
}

#[test]
fn a_window_nobody_could_serve_is_an_error() {
    let fails = |name: &str, value: &str| {
        let all = virtio_with(&[(name, value)]);
        assert!(parse(key(Class::Virtio), &all).is_err(), "{name}={value}");
    };
    for base in ["", "0x", "0", "0x2000001", "0xfffffffffffffe00", "zz", "-1"] {
        fails("base", base);
    }
    for irq in ["", "31", "1020", "-1", "4294967329"] {
        fails("irq", irq);
    }
    fails("transport", "pci");
    fails("frontend-id", "4");
}

#[test]
fn a_virtio_disk_has_a_decimal_base_and_its_image_in_params() {
    let disk = [
        ("frontend-id", "3"),
        ("online", "1"),
        ("state", "1"),
        ("irq", "34"),
        ("base", "33554944"),
        ("params", "/srv/disk.img"),
        ("mode", "r"),
        ("grant_usage", "0"),
    ];
    let folder = complete(Class::VirtioDisk, &keys(&disk));
    assert_eq!(folder.window.base, 0x0200_0200);
    assert_eq!(folder.wired_for, Memory::Foreign);
    let Content::Block(block) = folder.content else {
        panic!("no block device");
    };
    assert_eq!(block.image, PathBuf::from("/srv/disk.img"));
    assert!(block.read_only);

    let mut empty = keys(&disk);
    empty.remove("params");
    assert_eq!(complete(Class::VirtioDisk, &empty).content, Content::Unsaid);
}

#[test]
fn a_toolstack_that_wants_the_device_gone_is_seen() {
    let folder = complete(
        Class::Virtio,
        &virtio_with(&[("online", "0"), ("state", "5")]),
    );
    assert!(!folder.online);
    assert_eq!(folder.state, BusState::Closing);
}

#[test]
fn states_survive_being_written_and_read() {
    for number in 0..=6 {
        let text = number.to_string();
        assert_eq!(BusState::parse(&text).number(), text);
    }
    assert_eq!(BusState::parse("17"), BusState::Unknown);
    assert_eq!(BusState::parse(""), BusState::Unknown);
}

proptest! {
    #[test]
    fn no_content_of_a_folder_panics(values in proptest::collection::btree_map(
        proptest::sample::select(vec![
            "frontend-id", "state", "base", "irq", "online", "type", "transport", "grant_usage",
            "params", "mode", "avps/version", "avps/kind", "avps/image", "avps/memory",
            "avps/readonly", "avps/block-size", "avps/serial", "avps/cache", "avps/queues", "avps/error",
        ]),
        ".{0,24}|3|1|0x2000000|block|/i",
        0..20,
    )) {
        let keys: Keys = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for class in Class::ALL {
            let _ = parse(key(class), &keys);
        }
    }
}
