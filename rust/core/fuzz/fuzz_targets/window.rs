//! In no window of the period is more admitted than the limit, and a retry at the promised time succeeds.
#![no_main]

use ailink_core::kernel::window::Window;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[limit, period_low, period_high], steps)) = input.split_first_chunk() else {
        return;
    };
    let limit = u64::from(limit);
    let period = u64::from(u16::from_le_bytes([period_low, period_high])).max(1);
    let slot = period.div_ceil(60);
    let mut window = Window::new(limit, period);
    let mut admitted: Vec<(u64, u64, u64)> = Vec::new();
    let mut now = 0_u64;
    for step in steps.chunks_exact(3).take(300) {
        let size = u64::from(step[1]);
        match step[0] % 8 {
            0 => now += size,
            1 => now += size * slot,
            2 => now += period - 1 + size % 3,
            3 => now += size * period / 16,
            _ => {}
        }
        let n = u64::from(step[2]) % (limit + 2);
        if step[0] & 0x80 != 0 && !admitted.is_empty() {
            let (_, slot, n) = admitted.remove(usize::from(step[2]) % admitted.len());
            window.refund(slot, n);
        }
        match window.try_take(now, n) {
            Ok(grant) => admitted.push((now, grant.slot, n)),
            Err(refusal) => {
                let held: u64 = admitted.iter().filter(|(at, ..)| at + 61 * slot > now).map(|(.., n)| n).sum();
                assert!(held + n > limit);
                if n <= limit {
                    let then = now + refusal.retry_after_ns;
                    assert!(window.clone().try_take(then, n).is_ok());
                    assert!(window.clone().try_take(then - 1, n).is_err());
                }
            }
        }
    }
    for (start, ..) in &admitted {
        let inside = admitted.iter().filter(|(at, ..)| (*start..start + period).contains(at));
        assert!(inside.map(|(.., n)| n).sum::<u64>() <= limit);
    }
});
