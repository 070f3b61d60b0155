#if hasFeature(Embedded)
import CMicroVM

/// The last words of a guest: a report for the launcher, which symbolizes it, and the status.
///
/// The form is a contract with `toro run`: every line begins with `toro: panic: `.
@safe enum Panic {
    private static let stackWords = 512
    private static let contextLimit = 64
    nonisolated(unsafe) private static var underWay = false

    /// Reports an exception with the registers at that point, and powers off.
    static func report(_ frame: toro_trap_frame) -> Never {
        // SAFETY: interrupts are off; a second core that dies at the same time only garbles text.
        if unsafe underWay {
            Console.write("\ntoro: panic: cause a second fault while reporting the first\n")
            Console.write("toro: panic: end\n")
            PowerOff.now(.exception)
        }
        unsafe underWay = true
        let (cause, status) = unsafe diagnose(frame, pendingCause)
        begin()
        if let pending = unsafe pendingCause {
            unsafe Console.write(cString: pending)
        } else {
            Console.write(cause)
            if frame.vector == 14 {
                Console.write(" at address ")
                Console.write(hex: toro_read_cr2())
            }
        }
        Console.write("\n")
        registers(frame)
        stack(from: frame.rsp)
        contexts(frame)
        begin(cause: false)
        Console.write("end\n")
        PowerOff.now(unsafe pendingStatus ?? status)
    }

    /// What `fail` was told, for the exception it raises.
    nonisolated(unsafe) private static var pendingCause: UnsafePointer<CChar>?
    nonisolated(unsafe) private static var pendingStatus: ExitStatus?

    /// Reports `cause` with the registers of the caller, and powers off with `status`.
    static func fail(_ cause: UnsafePointer<CChar>, _ status: ExitStatus) -> Never {
        // SAFETY: as in `report`; the trap below ends the guest.
        unsafe pendingCause = cause
        unsafe pendingStatus = status
        toro_raise()
    }

    private static func begin(cause: Bool = true) {
        Console.write(cause ? "\ntoro: panic: cause " : "toro: panic: ")
    }

    private static func diagnose(
        _ frame: toro_trap_frame, _ pending: UnsafePointer<CChar>?
    ) -> (StaticString, ExitStatus) {
        switch frame.vector {
        case 0: return ("division by zero", .exception)
        case 2: return ("a non-maskable interrupt: the watchdog, or inject-nmi", .exception)
        case 6:
            return ("Swift trap: precondition, overflow, index out of range or fatalError", .trap)
        case 8: return ("double fault", .exception)
        case 13: return ("general protection fault", .exception)
        case 14: return diagnosePageFault(address: toro_read_cr2(), error: frame.error)
        default: return ("processor exception", .exception)
        }
    }

    private static func diagnosePageFault(
        address: UInt64, error: UInt64
    ) -> (StaticString, ExitStatus) {
        let (present, write, fetch) = (error & 1 != 0, error & 2 != 0, error & 16 != 0)
        if address < 4096 { return ("access through a null pointer", .nullAccess) }
        if fetch && present { return ("attempt to execute data", .executeProtection) }
        if Stacks.isGuard(address) { return ("stack overflow: guard page hit", .stackOverflow) }
        if write && present { return ("write to read-only memory", .writeProtection) }
        return ("access to an unmapped page", .exception)
    }

    private static func registers(_ frame: toro_trap_frame) {
        begin(cause: false)
        Console.write("core ")
        Console.write(decimal: unsafe toro_core().pointee.index)
        Console.write(" vector ")
        Console.write(decimal: frame.vector)
        pair(" error", frame.error)
        pair(" cr2", toro_read_cr2())
        line(("rip", frame.rip), ("rsp", frame.rsp), ("rbp", frame.rbp), ("rflags", frame.rflags))
        line(("rax", frame.rax), ("rbx", frame.rbx), ("rcx", frame.rcx), ("rdx", frame.rdx))
        line(("rsi", frame.rsi), ("rdi", frame.rdi), ("r8", frame.r8), ("r9", frame.r9))
        line(("r10", frame.r10), ("r11", frame.r11), ("r12", frame.r12), ("r13", frame.r13))
        line(("r14", frame.r14), ("r15", frame.r15), nil, nil)
        Console.write("\n")
    }

    private static func line(
        _ a: (StaticString, UInt64), _ b: (StaticString, UInt64),
        _ c: (StaticString, UInt64)?, _ d: (StaticString, UInt64)?
    ) {
        Console.write("\n")
        begin(cause: false)
        pair(a.0, a.1)
        Console.write(" ")
        pair(b.0, b.1)
        if let c {
            Console.write(" ")
            pair(c.0, c.1)
        }
        if let d {
            Console.write(" ")
            pair(d.0, d.1)
        }
    }

    private static func pair(_ name: StaticString, _ value: UInt64) {
        Console.write(name)
        Console.write(" ")
        Console.write(hex: value)
    }

    private static func stack(from start: UInt64) {
        var at = start & ~7
        for _ in 0..<stackWords / 4 {
            guard Memory.isReadable(at), Memory.isReadable(at + 31) else { return }
            begin(cause: false)
            Console.write("stack ")
            Console.write(hex: at)
            Console.write(":")
            for _ in 0..<4 {
                Console.write(" ")
                Console.write(hex: word(at))
                at += 8
            }
            Console.write("\n")
        }
    }

    /// The contexts of the suspended callers, innermost first: `AsyncContext` is its parent's
    /// address and the address where the parent resumes (Swift ABI, swift/ABI/Task.h).
    private static func contexts(_ frame: toro_trap_frame) {
        var at = isContext(frame.r14) ? frame.r14 : 0
        var place = frame.rsp & ~7
        for _ in 0..<stackWords where at == 0 {
            guard Memory.isReadable(place) else { break }
            if isContext(word(place)) { at = word(place) }
            place += 8
        }
        for _ in 0..<contextLimit where isContext(at) {
            begin(cause: false)
            Console.write("async ")
            Console.write(hex: word(at + 8))
            Console.write("\n")
            at = word(at)
        }
    }

    private static func isContext(_ address: UInt64) -> Bool {
        address & 7 == 0 && Memory.isHeap(address) && Memory.isHeap(address + 15)
            && Memory.isText(word(address + 8))
            && (word(address) == 0 || Memory.isHeap(word(address)))
    }

    private static func word(_ address: UInt64) -> UInt64 {
        // SAFETY: the callers have asked Memory whether the word can be read.
        unsafe UnsafePointer<UInt64>(bitPattern: UInt(address)).unsafelyUnwrapped.pointee
    }
}

/// Where exceptions come in, from boot.S.
@c(toro_exception) public func exception(_ frame: UnsafePointer<toro_trap_frame>) {
    // SAFETY: the stub's frame lies on this core's exception stack.
    unsafe Panic.report(frame.pointee)
}

/// Where the C shims give up.
@c(toro_fatal) public func fatal(_ cause: UnsafePointer<CChar>) {
    unsafe Panic.fail(cause, .trap)
}

/// Where an allocation of the runtime, which cannot throw, finds no memory.
@c(toro_heap_exhausted) public func heapExhausted(_ size: Int) {
    unsafe Panic.fail(
        "out of memory: the Swift runtime found no room; give the guest more memory", .outOfMemory)
}
#endif
