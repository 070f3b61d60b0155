#if hasFeature(Embedded)
import CMicroVM

/// A core's segment descriptors, task state and trap stacks (Intel SDM volume 3, 3.4, 6.14, 7.7).
///
/// One page for the tables, and for each kind of trap a stack of its own: code here uses the red
/// zone, so nothing may be pushed behind its stack pointer.
@safe struct Descriptors {
    /// Exceptions end the guest: room for the report.
    static let exceptionStack = 1
    /// Interrupts only wake.
    static let interruptStack = 2
    /// The size of each trap stack.
    static let stackSize: UInt64 = 8192

    private static let taskStateOffset = 64
    private static let taskStateSize = 104
    private static let gdtSize = 40

    /// Fills in the tables in the page at `base` and loads them on this core; `stacks` is the
    /// top of each interrupt stack, IST1 first.
    static func load(at base: UInt64, stacks: (UInt64, UInt64)) {
        // SAFETY: `base` is a zeroed page that belongs to this core for ever.
        let page = unsafe UnsafeMutableRawPointer(bitPattern: UInt(base)).unsafelyUnwrapped
        let task = base + UInt64(taskStateOffset)
        unsafe page.storeBytes(of: 0x00af_9a00_0000_ffff, toByteOffset: 8, as: UInt64.self)
        unsafe page.storeBytes(of: 0x00cf_9200_0000_ffff, toByteOffset: 16, as: UInt64.self)
        var low = UInt64(taskStateSize - 1)
        low |= (task & 0xff_ffff) << 16
        low |= 0x89 << 40
        low |= (task >> 24 & 0xff) << 56
        unsafe page.storeBytes(of: low, toByteOffset: 24, as: UInt64.self)
        unsafe page.storeBytes(of: task >> 32, toByteOffset: 32, as: UInt64.self)
        let state = unsafe page + taskStateOffset
        unsafe state.storeBytes(of: stacks.0, toByteOffset: 36, as: UInt64.self)
        unsafe state.storeBytes(of: stacks.1, toByteOffset: 44, as: UInt64.self)
        unsafe state.storeBytes(of: UInt16(taskStateSize), toByteOffset: 102, as: UInt16.self)
        unsafe toro_lgdt(page, UInt16(gdtSize - 1), 24)
    }
}

/// The interrupt table: the same for all cores, one gate for each stub of boot.S.
@safe enum InterruptTable {
    private static let gateSize = 16

    /// Fills in the table in the page at `base`.
    static func build(at base: UInt64) {
        // SAFETY: `base` is a page; 64 gates of 16 bytes are 1 KiB.
        let page = unsafe UnsafeMutableRawPointer(bitPattern: UInt(base)).unsafelyUnwrapped
        for vector in 0..<Int(TORO_TRAP_STUBS) {
            let stub = toro_trap_stub(UInt32(vector))
            let isException = vector < 32
            let stack =
                isException ? Descriptors.exceptionStack : Descriptors.interruptStack
            var low = stub & 0xffff
            low |= 8 << 16
            low |= UInt64(stack) << 32
            low |= 0x8e << 40
            low |= (stub >> 16 & 0xffff) << 48
            let gate = unsafe page + vector * gateSize
            unsafe gate.storeBytes(of: low, toByteOffset: 0, as: UInt64.self)
            unsafe gate.storeBytes(of: stub >> 32, toByteOffset: 8, as: UInt64.self)
        }
    }

    /// Makes the table at `base` this core's.
    static func load(at base: UInt64) {
        // SAFETY: `build` filled the page in.
        unsafe toro_lidt(
            UnsafeRawPointer(bitPattern: UInt(base)).unsafelyUnwrapped,
            UInt16(Int(TORO_TRAP_STUBS) * gateSize - 1))
    }
}
#endif
