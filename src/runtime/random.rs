//! Random numbers. Only this file draws them, so that a simulated node can have a seed.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<[u64; 4]> = Cell::new(seed_from_system());
}

fn seed_from_system() -> [u64; 4] {
    let mut bytes = [0; 32];
    random_bytes(&mut bytes);
    let mut state = [0; 4];
    for (word, chunk) in state.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
    }
    state[0] |= 1; // The generator must not start in its only fixed point, the all-zero state.
    state
}

/// A predictable random number, for jitter, spreading and sampling: xoshiro256++ (Blackman, Vigna).
pub fn random_u64() -> u64 {
    STATE.with(|cell| {
        let [mut a, mut b, mut c, mut d] = cell.get();
        let out = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let t = b << 17;
        c ^= a;
        d ^= b;
        b ^= c;
        a ^= d;
        c ^= t;
        d = d.rotate_left(45);
        cell.set([a, b, c, d]);
        out
    })
}

/// Unpredictable bytes from the system's generator, for ids and nonces.
pub fn random_bytes(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: pointer and length describe `rest`, which is exclusively borrowed during the call.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n > 0 {
            filled += n as usize;
        } else {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "getrandom failed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_do_not_repeat() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(random_u64()));
        }
        let (mut a, mut b) = ([0; 64], [0; 64]);
        random_bytes(&mut a);
        random_bytes(&mut b);
        assert_ne!(a, b);
    }
}
