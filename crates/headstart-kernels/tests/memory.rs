//! What a pass allocates: exactly what the network states, once, and nothing again for every batch.
#![expect(unsafe_code, reason = "an allocator that counts")]
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use headstart_kernels::{
    Activation, Conv2d, Conv2dSpec, Layer, Network, PaddingRule, Pool2d, PoolKind, Precision, Shape,
};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TOTAL: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        PEAK.fetch_max(live, Ordering::SeqCst);
        TOTAL.fetch_add(layout.size(), Ordering::SeqCst);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn conv(from: usize, to: usize, side: usize) -> Layer {
    let spec = Conv2dSpec {
        in_channels: from,
        out_channels: to,
        kernel: [side; 2],
        stride: [1; 2],
        dilation: [1; 2],
        padding: PaddingRule::TensorFlowSame,
        activation: Activation::Relu,
    };
    Conv2d::new(spec, &vec![0.01; side * side * from * to], &vec![0.0; to]).unwrap().into()
}

/// Peak above what was live before, and the sum of all allocations.
fn allocated(work: impl FnOnce()) -> (usize, usize) {
    let (live, total) = (LIVE.load(Ordering::SeqCst), TOTAL.load(Ordering::SeqCst));
    PEAK.store(live, Ordering::SeqCst);
    work();
    (PEAK.load(Ordering::SeqCst) - live, TOTAL.load(Ordering::SeqCst) - total)
}

/// Every kind of layer, without buffers yet.
fn network(precision: Precision) -> Network {
    let pool = Pool2d::new(PoolKind::Max, [2; 2], [2; 2], PaddingRule::TensorFlowSame).unwrap();
    let branches =
        Layer::Branches(vec![vec![conv(48, 16, 1), conv(16, 32, 5)], vec![conv(48, 24, 3), conv(24, 24, 3)]]);
    let residual = Layer::Residual { body: vec![conv(56, 64, 1), conv(64, 56, 3)], shortcut: vec![conv(56, 56, 1)] };
    let layers = vec![conv(3, 48, 3), pool.into(), branches, residual, Layer::GlobalAveragePool];
    Network::with_precision(Shape { height: 96, width: 96, channels: 3 }, layers, precision).unwrap()
}

#[test]
fn a_pass_allocates_what_is_stated_and_the_next_one_nothing() {
    // Threads, their names and the list of buffers are not part of a pass.
    const BOOKKEEPING: usize = 16 << 10;
    let precisions = [Precision::F32, Precision::Bf16].into_iter().filter(|precision| precision.check().is_ok());
    for (precision, threads) in precisions.flat_map(|precision| [(precision, 1), (precision, 3)]) {
        let (network, batch) = (network(precision), 6);
        let count = network.layer_count();
        let (from, to) = (network.shape_after(0).len(), network.shape_after(count).len());
        let (input, mut output) = (vec![0.5; batch * from], vec![0.0; batch * to]);
        let (peak, _) = allocated(|| network.forward(0..count, &input, batch, &mut output, threads).unwrap());
        let stated = network.peak_scratch_bytes(threads);
        assert!(peak >= stated && peak <= stated + BOOKKEEPING, "{threads} threads: {peak} bytes, stated {stated}");
        let (_, again) = allocated(|| network.forward(0..count, &input, batch, &mut output, threads).unwrap());
        assert!(again <= BOOKKEEPING, "{threads} threads: {again} bytes again");
        // One picture shared out by rows needs no more.
        let (_, one) = allocated(|| network.forward(0..count, &input[..from], 1, &mut output[..to], threads).unwrap());
        assert!(one <= BOOKKEEPING, "{threads} threads on one picture: {one} bytes");
    }
}
