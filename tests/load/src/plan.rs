//! Which requests cover a region: mixed sizes, every byte once, in random order.

use crate::pattern::Random;

/// One request: where and how much, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Cuts `bytes` into requests from `smallest` to `largest` (doubling sizes) and shuffles them.
pub(crate) fn cover(
    bytes: u64,
    smallest: u64,
    largest: u64,
    seed: u64,
) -> Result<Vec<Request>, String> {
    if smallest < 512
        || !smallest.is_power_of_two()
        || !largest.is_power_of_two()
        || largest < smallest
    {
        return Err("request sizes are powers of two, from 512 up".into());
    }
    if bytes == 0 || !bytes.is_multiple_of(smallest) {
        return Err(format!(
            "{bytes} bytes cannot be covered with requests of {smallest}"
        ));
    }
    let mut random = Random::new(seed);
    let sizes = u64::from((largest / smallest).ilog2()) + 1;
    let mut requests = Vec::new();
    let mut offset = 0;
    while offset < bytes {
        let length = (smallest << random.below(sizes)).min(bytes - offset);
        requests.push(Request { offset, length });
        offset += length;
    }
    for last in (1..requests.len()).rev() {
        let other = random.below(last as u64 + 1) as usize;
        requests.swap(last, other);
    }
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_covers_each_byte_once() {
        let mut requests = cover(8 << 20, 4096, 1 << 20, 42).unwrap();
        assert!(
            requests
                .windows(2)
                .any(|pair| pair[1].offset < pair[0].offset),
            "order is random"
        );
        requests.sort_by_key(|request| request.offset);
        let mut end = 0;
        for request in requests {
            assert_eq!(request.offset, end);
            assert!(request.length >= 4096 && request.length <= 1 << 20);
            end += request.length;
        }
        assert_eq!(end, 8 << 20);
    }

    #[test]
    fn sizes_that_cannot_work_are_refused() {
        assert!(cover(4096, 1000, 4096, 1).is_err());
        assert!(cover(5000, 512, 4096, 1).is_err());
        assert!(cover(0, 512, 4096, 1).is_err());
    }
}
