import Glibc
import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// The device with what QEMU really says.
@Suite struct RecordedTests {
    /// The descriptors that go with recorded requests.
    private final class Tape {
        private let ram: GuestRam
        private var sockets: [Int32] = []

        init(_ ram: GuestRam) { self.ram = ram }

        deinit { for file in sockets { close(file) } }

        func files(for exchange: RecordedSession.Exchange) throws -> [Int32] {
            try (0..<exchange.files).map { _ in
                // SET_MEM_TABLE comes with memory, and all else with event descriptors.
                if exchange.request.hasPrefix("05") { return ram.file }
                let ends = try FrontEnd.pair(SOCK_SEQPACKET)
                sockets += [ends.device, ends.own]
                return ends.device
            }
        }
    }

    private func bytes(_ text: String) -> [UInt8] {
        let digits = text.utf8.map { UInt8($0 < 58 ? $0 - 48 : $0 - 87) }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// Every answer is the recorded one, and afterwards the rings are where the guest put them.
    @Test func aRecordedSessionIsAnsweredAsBefore() throws {
        let front = try FrontEnd()
        let port = try PublishedPort(front.guest)
        let ram = try GuestRam(size: 16 << 20, margin: 0)
        let tape = Tape(ram)
        // The guest's receive ring: one buffer of a page (VIRTIO 1.2, 2.7).
        let (descriptors, available, used, buffer) = (0x3_e000, 0x3_e400, 0x3_e488, 0x10_0000)
        ram.store(UInt64(buffer), at: descriptors)
        ram.store(UInt32(4096), at: descriptors + 8)
        ram.store(UInt16(2), at: descriptors + 12)
        ram.store(UInt16(1), at: available + 2)
        for exchange in RecordedSession.exchanges {
            let request = bytes(exchange.request)
            let files = try tape.files(for: exchange)
            front.send(raw: request, files: files)
            front.settle()
            #expect(front.takeAnswer() == bytes(exchange.answer))
        }
        #expect(front.ends.isEmpty)
        #expect(ram.load(used + 2, as: UInt16.self) == 1)
        let written = Int(ram.load(used + 8, as: UInt32.self))
        let probe = try #require(VsockPacket(ram.read(written, at: buffer)))
        #expect(probe.operation == 1 && probe.destinationPort == PublishedPort.guestPort)
        _ = port
    }

    /// The recorded session with bytes changed at random: the device answers every request as QEMU
    /// expects, or hangs up and says why. It never touches memory that is not the guest's, and serves
    /// the front end that comes next.
    @Test(arguments: FuzzSeeds.all(1...60)) func aSpoiltSessionIsSurvived(_ first: UInt64) throws {
        for seed in FuzzSeeds(from: first) { try spoilSession(seed) }
    }

    private func spoilSession(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let front = try FrontEnd()
        let ram = try GuestRam(size: 16 << 20)
        let tape = Tape(ram)
        // One byte at least is another one.
        let certain = random.below(RecordedSession.exchanges.count)
        for (number, exchange) in RecordedSession.exchanges.enumerated() where front.ends.isEmpty {
            var request = bytes(exchange.request)
            if number == certain || random.below(8) == 0 {
                request[random.below(request.count)] ^= UInt8(1 + random.below(255))
            }
            front.send(raw: request, files: try tape.files(for: exchange))
            front.settle()
            // Whatever a spoilt length makes of the bytes: what comes back are whole replies.
            var answer = front.takeAnswer()[...]
            while !answer.isEmpty {
                try #require(answer.count >= 12)
                let words = (0..<3).map { word in
                    (0..<4).reduce(0) {
                        $0 | Int(answer[answer.startIndex + 4 * word + $1]) << (8 * $1)
                    }
                }
                #expect(words[0] <= 25 && words[1] == 5)
                try #require(answer.count >= 12 + words[2])
                answer = answer.dropFirst(12 + words[2])
            }
        }
        #expect(front.ends.allSatisfy { $0?.description.isEmpty == false }, "with the reason")
        #expect(ram.marginsAreClean && front.ram.marginsAreClean)
        if front.ends.isEmpty { front.hangUp() }
        front.settle()
        #expect(front.ends.count == 1 && !front.guest.isAttached)
        let next = try FrontEnd(world: front.world, guest: front.guest)
        #expect(next.ask(.getFeatures) != nil)
    }
}
