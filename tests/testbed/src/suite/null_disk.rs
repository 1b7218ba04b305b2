//! A disk in dom0's memory (Linux's null_blk): a block device for direct I/O, with bad sectors where a test wants them.

use super::{Context, Failed, Outcome};

fn folder(name: &str) -> String {
    format!("/sys/kernel/config/nullb/{name}")
}

/// Makes one of `mib` MiB and gives its path in `/dev`. `settings` are lines of shell; the disk's folder is in `$disk`.
pub(super) fn make(
    context: &Context,
    name: &str,
    mib: u64,
    settings: &str,
) -> Result<String, Failed> {
    let folder = folder(name);
    // Named as its folder; by older kernels with its number.
    context.sh(&format!(
        "disk={folder}\n\
         mkdir -p /sys/kernel/config && (grep -q ' /sys/kernel/config configfs ' /proc/mounts || mount -t configfs none /sys/kernel/config) && \
         mkdir $disk && echo {mib} > $disk/size && echo 1 > $disk/memory_backed || exit 1\n\
         {settings}\n\
         echo 1 > $disk/power || exit 1\n\
         if [ -b /dev/{name} ]; then echo /dev/{name}; else echo /dev/nullb$(cat $disk/index); fi"
    ))
}

/// Removes it.
pub(super) fn remove(context: &Context, name: &str) -> Outcome {
    let folder = folder(name);
    context
        .sh(&format!("echo 0 > {folder}/power && rmdir {folder}"))
        .map(drop)
}
