import ToroCore
import ToroMicroVM

/// Each of these must end the guest with the right cause and status.
enum Protection {
    @Core static var experiments: [Experiment] {
        [
            Experiment("null") { _ in store(to: 8) },
            Experiment("null-read") { vm in print(String(load(from: null(vm)))) },
            Experiment("text") { _ in store(to: addressOfText) },
            Experiment("constant") { _ in store(to: addressOfConstant) },
            Experiment("execute-heap") { _ in call(addressOnHeap()) },
            Experiment("execute-stack") { _ in executeStack() },
            Experiment("unmapped") { _ in store(to: 0x7f_ffff_f000) },
            Experiment("overflow-stack") { _ in print(String(recurse(1))) },
            Experiment("divide") { vm in print(String(100 % (vm.arguments.count - 1))) },
        ]
    }

    /// 0, as the probe has one argument: an access known to be to null is none to the optimizer.
    @Core private static func null(_ vm: MicroVM) -> UInt { UInt(vm.arguments.count - 1) }

    /// The image's first byte: text (see linker.ld).
    private static let addressOfText: UInt = 0x10_0000

    private static var addressOfConstant: UInt {
        let text: StaticString = "a constant"
        return unsafe UInt(bitPattern: text.utf8Start)
    }

    private static func addressOnHeap() -> UInt {
        // RET, so that a machine that runs it comes back and the experiment fails.
        let code = UnsafeMutablePointer<UInt8>.allocate(capacity: 16)
        unsafe code.initialize(repeating: 0xc3, count: 16)
        return UInt(bitPattern: code)
    }

    private static func executeStack() {
        var code: (UInt64, UInt64) = (0xc3c3_c3c3_c3c3_c3c3, 0xc3c3_c3c3_c3c3_c3c3)
        unsafe withUnsafeMutablePointer(to: &code) { call(UInt(bitPattern: $0)) }
    }

    @inline(never) private static func store(to address: UInt) {
        unsafe (start + Int(bitPattern: address) - 1).storeBytes(of: 1, as: UInt64.self)
    }

    @inline(never) private static func load(from address: UInt) -> UInt64 {
        unsafe (start + Int(bitPattern: address) - 1).loadUnaligned(as: UInt64.self)
    }

    /// Address 1. No pointer is made of 0, which is one of those to try.
    private static var start: UnsafeMutableRawPointer {
        unsafe UnsafeMutableRawPointer(bitPattern: 1).unsafelyUnwrapped
    }

    private static func call(_ address: UInt) {
        let function = unsafe unsafeBitCast(address, to: (@convention(c) () -> Void).self)
        function()
    }

    @inline(never) private static func recurse(_ depth: Int) -> Int {
        unsafe withUnsafeTemporaryAllocation(byteCount: 128, alignment: 8) { room in
            unsafe room[0] = UInt8(truncatingIfNeeded: depth)
            // Not a sum, which the optimizer would turn into a loop.
            return recurse(depth &+ 1) / 3 &+ Int(unsafe room[0])
        }
    }
}
