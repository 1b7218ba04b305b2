//! What can be a disk, and whose.

use std::fs::File;
use std::io::Write;

use crate::block::{BlockConfig, BlockSize, Image, ImageError, open_image};

#[test]
fn an_image_that_cannot_zero_ranges_gets_zeros_written() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let image = Image::new(file.try_clone().unwrap(), &BlockConfig::default()).unwrap();
    image.write_at(&[0xff; 8192], 0).unwrap();
    let mut scratch = [1; 1000];
    image.write_zeros_by_hand(512, 4096, &mut scratch).unwrap();
    let mut back = [0; 8192];
    image.read_at(&mut back, 0).unwrap();
    assert!(back[512..4608].iter().all(|&byte| byte == 0));
    assert!(
        back[..512]
            .iter()
            .chain(&back[4608..])
            .all(|&byte| byte == 0xff)
    );
}

#[test]
fn unfit_images_are_refused_with_what_to_do() {
    let sized = |size: u64| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        file
    };
    let refused =
        |file: File, config: &BlockConfig| Image::new(file, config).unwrap_err().to_string();
    let default = BlockConfig::default();
    assert!(refused(sized(0), &default).contains("empty"));
    let odd = refused(sized(1000), &default);
    assert!(odd.contains("1000") && odd.contains("1024"), "{odd}");
    let large_blocks = BlockConfig {
        block_size: BlockSize::B4096,
        ..default.clone()
    };
    assert!(refused(sized(4096 + 512), &large_blocks).contains("4096"));
    assert!(matches!(
        Image::new(File::open("/dev/null").unwrap(), &default),
        Err(ImageError::Kind)
    ));
    let missing = open_image("/nonexistent/disk.img".as_ref(), &default)
        .unwrap_err()
        .to_string();
    assert!(
        missing.contains("/nonexistent/disk.img") && missing.contains("truncate"),
        "{missing}"
    );
}

#[test]
fn an_image_is_one_writable_disk_or_several_read_only_ones() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0; 1024]).unwrap();
    let open = |readonly| {
        let config = BlockConfig {
            readonly,
            ..BlockConfig::default()
        };
        Image::new(open_image(file.path(), &config).unwrap(), &config)
    };
    let first = open(false).unwrap();
    assert!(matches!(open(false), Err(ImageError::InUse)));
    assert!(matches!(open(true), Err(ImageError::InUse)));
    drop(first);
    let (one, two) = (open(true).unwrap(), open(true).unwrap());
    assert!(matches!(open(false), Err(ImageError::InUse)));
    assert_eq!((one.sectors(), two.sectors()), (2, 2));
}
