import Foundation
import Launcher
import LoadClient
import Testing
import ToroTesting

/// The vsock device with a peer whose protocol code is not Toro's: Linux's own virtio-vsock driver.
@Suite(.serialized) struct LinuxPeerTests {
    /// The byte at an offset of every stream, as in peer.c.
    private static func pattern(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 ^ $0 >> 8 ^ $0 >> 16) }
    }

    @Test func linuxIsServed() throws {
        let guest = try LinuxGuest()
        let sockets = try #require(Int(try guest.ask("sockets")))
        try eachSideMayEndFirst(guest)
        try nobodyAnswersForAPort(guest)
        try aFullBacklogLosesNobody(guest)
        try thousandsInARow(guest)
        try hundredsAtATime(guest)
        try clientsThatBreakOff(guest)
        let faults = try guest.ask("faults")
        #expect(faults == "0", "what the guest saw")
        // Linux waits 8 seconds for a host that does not confirm the end of a connection.
        let longest = try #require(Int(try guest.ask("close")))
        #expect(longest < 8_000, "a connection's end was confirmed after \(longest) ms")
        let limit = Date(timeIntervalSinceNow: Patience.seconds)
        var left = sockets + 1
        while left > sockets, Date() < limit { left = try #require(Int(try guest.ask("sockets"))) }
        #expect(left <= sockets, "sockets left in the guest")
        let (qemu, device) = guest.end()
        #expect(qemu?.status == 1, "\(String(describing: qemu))")
        #expect(device?.status == 0, "\(String(describing: device))")
    }

    private func eachSideMayEndFirst(_ guest: LinuxGuest) throws {
        let bytes = LinuxPeerTests.pattern(300_000)
        let echo = try guest.connect(.echo)
        let back = try exchange(echo, bytes)
        #expect(back.bytes == bytes && back.last == .end, "\(back.bytes.count), \(back.last)")

        let pour = try guest.connect(.pour)
        #expect(pour.send(LinuxPeerTests.bytes(of: 1_000_000)))
        let poured = pour.receiveAll()
        #expect(poured.bytes == LinuxPeerTests.pattern(1_000_000) && poured.last == .end)
        // The guest has ended its side: ours is open still, and the guest listens.
        #expect(pour.send("k"))
        pour.finish()

        let take = try guest.connect(.take)
        #expect(take.send(bytes))
        take.finish()
        let answer = take.receiveAll()
        #expect(answer.bytes == Array("300000\n".utf8) && answer.last == .end)

        for _ in 0..<20 {
            let leave = try guest.connect(.leave)
            let words = leave.receiveAll()
            #expect(words.bytes == LinuxPeerTests.pattern(10_000), "\(words.bytes.count)")
            #expect(words.last == .end, "\(words.last)")
        }
    }

    private func nobodyAnswersForAPort(_ guest: LinuxGuest) throws {
        let words = try guest.ask("knock").split(separator: " ")
        // After its own time of 2 seconds Linux would say ETIMEDOUT.
        #expect(words.first == "ECONNRESET", "\(words)")
    }

    /// Linux answers RST when a listener's backlog of four is full.
    private func aFullBacklogLosesNobody(_ guest: LinuxGuest) throws {
        let clients = try (0..<64).map { _ in try guest.connect(.dawdle) }
        for (index, client) in clients.enumerated() {
            let answer = client.receiveAll()
            #expect(answer.bytes == Array("hello\n".utf8), "\(index): \(answer)")
        }
    }

    private func thousandsInARow(_ guest: LinuxGuest) throws {
        for number in 0..<3_000 {
            let client = try guest.connect(.echo)
            #expect(client.send("\(number)"))
            client.finish()
            let answer = client.receiveAll()
            guard answer.bytes == Array("\(number)".utf8), answer.last == .end else {
                Issue.record("connection \(number): \(answer)")
                return
            }
        }
    }

    private func hundredsAtATime(_ guest: LinuxGuest) throws {
        let bytes = LinuxPeerTests.pattern(10_000)
        for round in 0..<5 {
            let clients = try (0..<200).map { _ in try guest.connect(.echo) }
            for client in clients {
                #expect(client.send(bytes))
                client.finish()
            }
            for (index, client) in clients.enumerated() {
                let answer = client.receiveAll()
                #expect(
                    answer.bytes == bytes && answer.last == .end,
                    "\(round), \(index): \(answer.bytes.count), \(answer.last)")
            }
        }
    }

    private func clientsThatBreakOff(_ guest: LinuxGuest) throws {
        var buffer = [UInt8](repeating: 0, count: 16)
        for _ in 0..<50 {
            let client = try guest.connect(.echo)
            #expect(client.send("x"))
            #expect(client.receive(into: &buffer) == .bytes(1))
            client.reset()
        }
    }

    @Test func littleCreditIsEnough() throws {
        let size = 100_000_000
        let guest = try LinuxGuest(["--buffer-size", "4096"])
        let pour = try guest.connect(.pour)
        #expect(pour.send(LinuxPeerTests.bytes(of: size)))
        let bytes = LinuxPeerTests.pattern(size)
        var received = 0
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case .bytes(let count) = pour.receive(into: &buffer) {
            guard received + count <= size,
                buffer[..<count].elementsEqual(bytes[received..<received + count])
            else {
                Issue.record("wrong bytes behind \(received)")
                break
            }
            received += count
        }
        #expect(received == size)
        #expect(pour.send("k"))
        pour.finish()

        let take = try guest.connect(.narrowTake)
        #expect(take.send(bytes))
        take.finish()
        let answer = take.receiveAll()
        #expect(answer.bytes == Array("\(size)\n".utf8) && answer.last == .end, "\(answer)")

        let echo = try guest.connect(.narrowEcho)
        let part = Array(bytes[..<100_000])
        let back = try exchange(echo, part)
        #expect(back.bytes == part && back.last == .end, "\(back.bytes.count), \(back.last)")
        let faults = try guest.ask("faults")
        #expect(faults == "0", "what the guest saw")
        guest.end()
    }

    /// Sends bytes and the end on a thread of its own, and receives everything.
    private func exchange(
        _ socket: ClientSocket, _ bytes: [UInt8]
    ) throws -> (bytes: [UInt8], last: ClientSocket.Received) {
        let sender = Sender(socket)
        Thread.detachNewThread { sender.send(bytes) }
        let answer = socket.receiveAll()
        #expect(sender.wait())
        return answer
    }

    /// A number as the eight bytes that peer.c reads.
    private static func bytes(of number: Int) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }
}

/// Sends on a thread of its own.
private final class Sender: @unchecked Sendable {
    // SAFETY (@unchecked): sending and receiving on a socket touch nothing in common, and the result
    // is written before the semaphore is signalled and read after.
    private let socket: ClientSocket
    private let done = DispatchSemaphore(value: 0)
    private var isSent = false

    init(_ socket: ClientSocket) { self.socket = socket }

    func send(_ bytes: [UInt8]) {
        isSent = socket.send(bytes)
        socket.finish()
        done.signal()
    }

    /// Whether all was taken.
    func wait() -> Bool {
        done.wait()
        return isSent
    }
}
