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

    /// The names of the frame's words, in their order, four letters each.
    private static var names: StaticString {
        "r15 r14 r13 r12 r11 r10 r9  r8  rdi rsi rbp rbx rdx rcx rax vec err rip cs  rfl rsp ss  cr2 core"
    }

    private static func registers(_ frame: toro_trap_frame) {
        var frame = frame
        unsafe withUnsafeBytes(of: &frame) { words in
            let count = words.count / 8
            for index in 0..<count + 2 {
                if index & 3 == 0 { begin(cause: false) }
                for letter in index * 4..<index * 4 + 4 {
                    // SAFETY: there are four letters for each word, and two more.
                    let byte = unsafe names.utf8Start[letter]
                    if byte != UInt8(ascii: " ") { Console.put(byte) }
                }
                Console.write(" ")
                if index < count {
                    // SAFETY: the index is below the count of words.
                    Console.write(
                        hex: unsafe words.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
                } else {
                    Console.write(
                        hex: index == count ? toro_read_cr2() : unsafe toro_core().pointee.index)
                }
                Console.write(index & 3 == 3 ? "\n" : " ")
            }
        }
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
