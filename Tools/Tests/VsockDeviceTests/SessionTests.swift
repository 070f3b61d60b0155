import CHostShims
import Glibc
import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// A front end that says what makes no sense: the session ends with the reason in words, and what
/// it sent is closed.
@Suite struct SessionTests {
    struct Lie: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let request: FrontEnd.Request
        let payload: [UInt8]
        var hasFile = false
        /// What the reason must say.
        let reason: String
    }

    private static func word(_ value: UInt32) -> [UInt8] { FrontEnd.bytes(value) }

    private static let zeros = [UInt8](repeating: 0, count: 40)

    static let lies: [Lie] = [
        Lie(
            testDescription: "a memory table of nothing", request: .setMemoryTable, payload: [],
            reason: "8 memory regions"),
        Lie(
            testDescription: "nine regions", request: .setMemoryTable, payload: word(9) + zeros,
            reason: "8 memory regions"),
        Lie(
            testDescription: "a table cut short", request: .setMemoryTable,
            payload: word(1) + word(0) + word(0), reason: "cut short"),
        Lie(
            testDescription: "a region without a file", request: .setMemoryTable,
            payload: FrontEnd.region(), reason: "0 files for 1 regions"),
        Lie(
            testDescription: "an empty region", request: .setMemoryTable,
            payload: FrontEnd.region(size: 0), hasFile: true, reason: "cannot be"),
        Lie(
            testDescription: "a region that overflows", request: .setMemoryTable,
            payload: FrontEnd.region(guest: .max - 4), hasFile: true, reason: "cannot be"),
        Lie(
            testDescription: "an offset that overflows", request: .setMemoryTable,
            payload: FrontEnd.region(offset: .max - 4), hasFile: true, reason: "cannot be"),
        Lie(
            testDescription: "a region beyond its file", request: .setMemoryTable,
            payload: FrontEnd.region(size: 1 << 30), hasFile: true, reason: "sealed"),
        Lie(
            testDescription: "a queue of 65,536", request: .setSize,
            payload: word(0) + word(65_536), reason: "longer than 1024"),
        Lie(
            testDescription: "the size of a third queue", request: .setSize,
            payload: word(2) + word(8), reason: "queue that there is not"),
        Lie(
            testDescription: "the base of no queue", request: .getBase,
            payload: word(.max) + word(0), reason: "queue that there is not"),
        Lie(
            testDescription: "half of a queue's addresses", request: .setAddresses,
            payload: word(0) + word(0) + word(0), reason: "cut short"),
        Lie(
            testDescription: "a queue without kicks", request: .setKick,
            payload: FrontEnd.bytes(UInt64(0x100)), reason: "not supported"),
        Lie(
            testDescription: "a kick without a descriptor", request: .setKick,
            payload: FrontEnd.bytes(UInt64(0)), reason: "0 descriptors"),
        Lie(
            testDescription: "a call for a queue that there is not", request: .setCall,
            payload: FrontEnd.bytes(UInt64(7)), hasFile: true, reason: "queue that there is not"),
        Lie(
            testDescription: "a configuration beyond its message", request: .getConfig,
            payload: word(0) + word(200) + word(0), reason: "configuration"),
    ]

    @Test(arguments: lies) func theSessionEndsWithTheReason(_ lie: Lie) throws {
        let front = try FrontEnd()
        front.send(.setOwner)
        front.send(lie.request, lie.payload, files: lie.hasFile ? [front.ram.file] : [])
        try #require(front.ends.count == 1)
        let reason = try #require(front.ends[0])
        #expect(reason.description.contains(lie.reason))
        #expect(!front.guest.isAttached)
    }

    @Test func anUnknownRequestIsNamed() throws {
        let front = try FrontEnd()
        front.send(77)
        #expect(front.ends == [HostError("the front end sent request 77, which is not served")])
    }

    @Test func anotherVersionIsRefused() throws {
        let front = try FrontEnd()
        front.send(.getFeatures, flags: 2)
        #expect(front.ends.count == 1)
    }

    @Test func aMessageTooLongIsRefused() throws {
        let front = try FrontEnd()
        let size = FrontEnd.bytes(UInt32(4097))
        front.send(raw: FrontEnd.bytes(UInt32(2)) + FrontEnd.bytes(UInt32(1)) + size)
        front.settle()
        #expect(front.ends == [HostError("the front end announced a message of 4097 bytes")])
    }

    @Test func messagesMayComeByteByByte() throws {
        let front = try FrontEnd()
        for byte in [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0] as [UInt8] {
            front.send(raw: [byte])
            front.settle()
        }
        var bytes = [UInt8](repeating: 0, count: 64)
        // SAFETY: the array is as long as the call is told.
        #expect(unsafe recv(front.socket, &bytes, 64, Int32(MSG_DONTWAIT)) == 20)
        #expect(front.ends.isEmpty)
    }

    @Test func descriptorsWithEveryByteAreTooMany() throws {
        let front = try FrontEnd()
        for byte in [5, 0, 0, 0, 1, 0, 0, 0, 255, 0] as [UInt8] {
            front.send(raw: [byte], files: [front.ram.file])
            front.settle()
        }
        #expect(
            front.ends == [HostError("the front end sent too many descriptors with one message")])
    }

    @Test func leavingBetweenMessagesIsOrderly() throws {
        let front = try FrontEnd()
        front.start()
        front.hangUp()
        front.settle()
        #expect(front.ends == [nil])
    }

    @Test func leavingWithinAMessageIsNot() throws {
        let front = try FrontEnd()
        front.send(raw: [1, 0, 0])
        front.hangUp()
        front.settle()
        #expect(front.ends == [HostError("the front end left within a message")])
    }

    /// The front end could take the pages away from a mapping of a file that may shrink.
    /// A queue that runs is stopped and goes on in the memory of the last table.
    @Test func theRingsAreInTheMemoryOfTheLastTable() throws {
        let front = try FrontEnd()
        front.start()
        let (first, other) = (front.rings[FrontEnd.transmit], try GuestRam())
        let ring = DriverRing(other, at: first.descriptors, size: first.size)
        front.send(.setMemoryTable, FrontEnd.region(), files: [other.file])
        _ = ring.offer([.init(address: 0x4_0000, length: 44)])
        front.kick(FrontEnd.transmit)
        #expect(ring.takeUsed() != nil)
        #expect(front.ends.isEmpty)
    }

    @Test func memoryMustBeSealed() throws {
        let front = try FrontEnd()
        var name = Array("/tmp/toro-memory-XXXXXX".utf8CString)
        // SAFETY: the template is a C string of its own.
        let file = unsafe mkstemp(&name)
        // SAFETY: as above.
        unsafe unlink(name)
        defer { close(file) }
        #expect(ftruncate(file, 4 << 20) == 0)
        front.send(.setMemoryTable, FrontEnd.region(), files: [file])
        #expect(front.ends.first??.description.contains("sealed against shrinking") == true)
    }

    /// Descriptors come with requests that take none, with wrong ones, and before the end: the
    /// other end of each tells that the device's copy is closed.
    @Test(arguments: [1, 3, 8, 12, 13, 18, 77] as [UInt32])
    func descriptorsAreClosed(_ request: UInt32) throws {
        let front = try FrontEnd()
        let ends = try FrontEnd.pair(SOCK_STREAM)
        defer { close(ends.own) }
        front.send(
            request, [UInt8](repeating: 0, count: 8),
            files: [ends.device, ends.device, ends.device]
        )
        front.hangUp()
        front.settle()
        close(ends.device)
        var byte: UInt8 = 0
        // SAFETY: one byte.
        #expect(unsafe recv(ends.own, &byte, 1, Int32(MSG_DONTWAIT)) == 0)
    }

    @Test func aSecondFrontEndIsTurnedAway() throws {
        let front = try FrontEnd()
        let ends = try FrontEnd.pair(SOCK_STREAM)
        defer { close(ends.own) }
        #expect(throws: HostError("the guest has a front end already")) {
            try front.guest.attach(ends.device)
        }
        #expect(front.ask(.getFeatures) != nil)
    }
}
