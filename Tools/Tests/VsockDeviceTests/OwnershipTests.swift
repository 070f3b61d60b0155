import CHostShims
import Glibc
import Testing
import VhostUser

/// Each descriptor has one owner, which closes it once: a number that was closed may be another
/// file's by then.
@Suite struct OwnershipTests {
    /// A device that opens files when a queue of it stops: they get the numbers that are free.
    private final class OpeningBackend: VhostUserBackend {
        let deviceFeatures: UInt64 = 0
        let queueCount = 1
        let configuration: [UInt8] = []
        private(set) var ends: [HostError?] = []
        /// What was opened: one end of a pipe, as often as this.
        private(set) var opened: [Int32] = []
        private let file: Int32

        init(_ file: Int32) { self.file = file }

        deinit { for file in opened { close(file) } }

        func queueStarted(_ index: Int) {}
        func queueKicked(_ index: Int) {}
        func queueStops(_ index: Int) {}
        func signalWasLate(_ index: Int) {}
        func queueStopped(_ index: Int) {
            for _ in 0..<16 { opened.append(dup(file)) }
        }
        func disconnected(_ reason: HostError?) { ends.append(reason) }
    }

    /// Which file a descriptor is; nil if it is none.
    private func inode(_ file: Int32) -> ino_t? {
        var status = stat()
        // SAFETY: the structure outlives the call.
        return unsafe fstat(file, &status) == 0 ? status.st_ino : nil
    }

    /// epoll takes no memory file: the session ends, and closes the descriptor once.
    @Test func aKickThatCannotBeWaitedForIsClosedOnce() throws {
        let loop = try EventLoop()
        let ram = try GuestRam()
        let (socket, kick, pipe) = try (
            FrontEnd.pair(SOCK_STREAM), FrontEnd.pair(SOCK_SEQPACKET), FrontEnd.pair(SOCK_STREAM)
        )
        defer {
            for file in [socket.own, kick.own, kick.device, pipe.own, pipe.device] { close(file) }
        }
        let backend = OpeningBackend(pipe.own)
        let session = try VhostUserSession(socket.device, loop: loop, backend: backend)
        func send(_ request: FrontEnd.Request, _ payload: [UInt8], _ files: [Int32] = []) throws {
            let bytes =
                FrontEnd.bytes(request.rawValue) + FrontEnd.bytes(UInt32(1))
                + FrontEnd.bytes(UInt32(payload.count)) + payload
            // SAFETY: both arrays are as long as the call is told.
            _ = unsafe toro_send(socket.own, bytes, bytes.count, files, files.count)
            try loop.turn(limit: 0)
        }
        func user(_ place: UInt64) -> [UInt8] { FrontEnd.bytes(FrontEnd.userBase + place) }
        let word = FrontEnd.bytes(UInt32(0))
        try send(.setMemoryTable, FrontEnd.region(), [ram.file])
        try send(.setSize, word + FrontEnd.bytes(UInt32(8)))
        try send(
            .setAddresses,
            word + word + user(0x1000) + user(0x3000) + user(0x2000) + FrontEnd.bytes(UInt64(0)))
        try send(.setKick, FrontEnd.bytes(UInt64(0)), [kick.device])
        #expect(session.ring(0) != nil)

        try send(.setKick, FrontEnd.bytes(UInt64(0)), [ram.file])
        try #require(backend.ends.count == 1)
        #expect(backend.ends[0]?.description.contains("cannot wait for a descriptor") == true)
        #expect(!backend.opened.isEmpty)
        let expected = inode(pipe.own)
        #expect(backend.opened.allSatisfy { inode($0) == expected })
    }
}
