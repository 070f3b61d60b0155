import CHostShims
import Glibc
import Testing
import VhostUser

/// Whether AddressSanitizer is on where `toro test` says that it is, and names what device code may
/// do wrong. Each fault is that of a process of its own, which ends by it.
@Suite(.enabled(if: isSanitized)) struct SanitizerTests {
    private func names(_ fault: String, _ result: ExitTest.Result?) -> Bool {
        let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        return text.contains("ERROR: AddressSanitizer: \(fault)")
    }

    @Test func aByteBehindAnArrayIsNamed() async {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.standardErrorContent]
        ) {
            let (bytes, ends) = ([UInt8](repeating: 1, count: 24), try FrontEnd.pair(SOCK_STREAM))
            // SAFETY: none; the call ends the process.
            exit(unsafe send(ends.own, bytes, bytes.count + 1, 0) == 7 ? 1 : 0)
        }
        #expect(names("heap-buffer-overflow", result))
    }

    @Test func memoryThatWasFreedIsNamed() async {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.standardErrorContent]
        ) {
            let words = UnsafeMutablePointer<UInt64>.allocate(capacity: 4)
            unsafe words.initialize(repeating: 1, count: 4)
            unsafe words.deallocate()
            // SAFETY: none; the access ends the process.
            exit(unsafe words[1] == 7 ? 1 : 0)
        }
        #expect(names("heap-use-after-free", result))
    }

    /// What C reads, inlined into Swift, and of a mapping, of which the sanitizer must be told.
    @Test func aByteBehindGuestMemoryIsNamed() async {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.standardErrorContent]
        ) {
            let range = try GuestMemoryOfATest.range(at: UInt64(GuestRam.size) - 8)
            // SAFETY: none; the access ends the process.
            exit(unsafe toro_load16(range.start + 8) == 7 ? 1 : 0)
        }
        #expect(names("use-after-poison", result))
    }

    /// What a system call writes, before the guest's memory, in the same file.
    @Test func aByteBeforeGuestMemoryIsNamed() async {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.standardErrorContent]
        ) {
            let range = try GuestMemoryOfATest.range(at: 0)
            let ends = try FrontEnd.pair(SOCK_STREAM)
            var one: UInt64 = 1
            _ = unsafe write(ends.own, &one, 8)
            // SAFETY: none; the call ends the process.
            exit(unsafe read(ends.device, range.start - 8, 8) == 7 ? 1 : 0)
        }
        #expect(names("use-after-poison", result))
    }

    @Test func guestMemoryThatWasUnmappedIsNamed() async {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.standardErrorContent]
        ) {
            let range = try GuestMemoryOfATest.range(at: 0, isKept: false)
            // SAFETY: none; the access ends the process.
            exit(unsafe toro_load16(range.start) == 7 ? 1 : 0)
        }
        #expect(names("SEGV", result))
    }
}

/// Whether `toro test` says that the sanitizer is on.
private var isSanitized: Bool {
    // SAFETY: the name is a C string for the call, and the value is not looked at.
    unsafe getenv("TORO_SANITIZED") != nil
}

/// Guest memory for a process that ends by it.
enum GuestMemoryOfATest {
    nonisolated(unsafe) private static var kept: GuestMemory?

    static func range(at address: UInt64, isKept: Bool = true) throws -> GuestRange {
        let ram = try GuestRam()
        let region = GuestMemory.Region(
            guestAddress: 0, size: UInt64(GuestRam.size), userAddress: FrontEnd.userBase,
            fileOffset: UInt64(GuestRam.margin))
        let memory = try GuestMemory([region], files: [ram.file])
        if isKept { unsafe kept = memory }
        return try #require(memory.range(guest: address, count: 8))
    }
}
