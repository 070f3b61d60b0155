#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
enum Frames {
    nonisolated(unsafe) static var at: UInt64 = 0
    nonisolated(unsafe) static var end: UInt64 = 0
    static func add(_ r: PhysicalRange) {
        if unsafe r.end - r.start > end - at { unsafe at = r.start; unsafe end = r.end }
    }
    static func zeroed() -> UInt64? {
        guard unsafe at + 4096 <= end else { return nil }
        unsafe end -= 4096
        unsafe UnsafeMutableRawPointer(bitPattern: UInt(end)).unsafelyUnwrapped.initializeMemory(
            as: UInt64.self, repeating: 0, count: 512)
        return unsafe end
    }
}
@c(toro_heap_allocate) public func heapAllocate(_ size: Int, _ alignment: Int)
    -> UnsafeMutableRawPointer?
{
    let a = UInt64(max(alignment, 16))
    let p = unsafe (Frames.at + 16 + a - 1) & ~(a - 1)
    guard unsafe p + UInt64(size) < Frames.end else { return nil }
    unsafe Frames.at = p + UInt64(size)
    let q = unsafe UnsafeMutableRawPointer(bitPattern: UInt(p)).unsafelyUnwrapped
    unsafe (q - 8).storeBytes(of: size, as: Int.self)
    return unsafe q
}
@c(toro_heap_deallocate) public func heapDeallocate(_ p: UnsafeMutableRawPointer) {}
@c(toro_heap_usable_size) public func heapUsable(_ p: UnsafeRawPointer) -> Int {
    unsafe (p - 8).load(as: Int.self)
}
#endif
