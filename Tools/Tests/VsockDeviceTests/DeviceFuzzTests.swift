import Testing
import ToroTesting
import VhostUser
import VsockDevice

/// Nonsense of every kind, in rings, packets, messages and from clients: the device must neither
/// trap nor hang nor touch a byte outside the guest's memory, and serve the next guest as if
/// nothing had been.
@Suite struct DeviceFuzzTests {
    private struct Fuzzer {
        var random: SeededRandom
        let rig: Rig
        var clients: [Client] = []
        var known: [VsockPacket] = []

        var front: FrontEnd { rig.frontEnd }

        mutating func chance(_ percent: Int) -> Bool { random.below(100) < percent }

        /// Numbers that are near limits more often than not.
        mutating func number() -> UInt64 {
            let edges: [UInt64] = [
                0, 1, 7, 8, 16, 43, 44, 45, 4096, UInt64(GuestRam.size), 1 << 31, 1 << 32, .max,
            ]
            let edge = edges[random.below(edges.count)]
            switch random.below(4) {
            case 0: return edge &- UInt64(random.below(3))
            case 1: return edge &+ UInt64(random.below(64))
            case 2: return UInt64(random.below(GuestRam.size))
            default: return random.next() >> UInt64(random.below(64))
            }
        }

        mutating func step() throws {
            switch random.below(100) {
            case 0..<12:
                if clients.count < 20 { clients.append(try Client(rig.port.address)) }
                front.settle()
            case 12..<24:
                guard !clients.isEmpty else { return }
                clients[random.below(clients.count)].send(
                    [UInt8](repeating: 5, count: 1 + random.below(9000)))
                front.settle()
            case 24..<28:
                if !clients.isEmpty { clients.remove(at: random.below(clients.count)).leave() }
            case 28..<32: for client in clients { _ = client.receive() }
            case 32..<55:
                if let packet = front.nextPacket() { known.append(packet) }
                if known.count > 30 { known.removeFirst() }
            case 55..<85: sendPacket()
            case 85..<95: spoilRing()
            case 95..<97: restart()
            default: front.world.advance(milliseconds: random.below(3_000))
            }
            let (guest, limits) = (front.guest, front.guest.limits)
            #expect(guest.memoryUsed <= limits.memoryBudget)
            #expect(guest.openCount <= limits.connections)
        }

        mutating func sendPacket() {
            guard !known.isEmpty else { return }
            let bytes = [UInt8](repeating: 6, count: random.below(2) * random.below(5000))
            var packet = front.answer(
                known[random.below(known.count)], UInt16(1 + random.below(7)), bytes,
                flags: UInt32(random.below(4)))
            packet.bufferAllocation = UInt32(truncatingIfNeeded: number())
            packet.forwardCount = UInt32(random.below(3))
            if chance(20) {
                switch random.below(6) {
                case 0: packet.length = UInt32(truncatingIfNeeded: number())
                case 1: packet.operation = UInt16(truncatingIfNeeded: number())
                case 2: packet.sourceCID = number()
                case 3: packet.destinationCID = number()
                case 4: packet.type = UInt16(truncatingIfNeeded: number())
                default: packet.destinationPort = UInt32(truncatingIfNeeded: number())
                }
            }
            front.transmit(packet, indirect: chance(30))
        }

        /// A chain as it should be, in the ring or in a table of its own; then one thing of it is
        /// made wrong, and it is offered.
        mutating func spoilRing() {
            let queue = random.below(2)
            let ring = front.rings[queue]
            let isIndirect = chance(50)
            let own = queue == FrontEnd.receive ? DriverRing.writable : 0
            for index in 0..<4 as Range<UInt16> {
                ring.describe(
                    index, UInt64(0x4_0000 + 64 * Int(index)), 64,
                    own | (index == 3 ? 0 : DriverRing.next), index + 1,
                    table: isIndirect ? ring.table : nil)
            }
            if isIndirect { ring.describe(0, UInt64(ring.table), 64, DriverRing.indirect, 0) }
            let isInner = isIndirect && chance(60)
            let entry = isIndirect && !isInner ? 0 : random.below(4)
            let place = (isInner ? ring.table : ring.descriptors) + 16 * entry
            switch random.below(4) {
            case 0: front.ram.store(address(ring), at: place)
            case 1: front.ram.store(length(), at: place + 8)
            case 2: front.ram.store(UInt16(random.below(8)), at: place + 12)
            default: front.ram.store(UInt16(random.below(12)), at: place + 14)
            }
            if chance(10) {
                front.ram.store(UInt16(truncatingIfNeeded: number()), at: ring.available + 2)
            } else {
                ring.offer(head: chance(80) ? 0 : UInt16(random.below(10)))
            }
            front.kick(queue)
        }

        mutating func address(_ ring: DriverRing) -> UInt64 {
            switch random.below(4) {
            case 0: UInt64(ring.descriptors)
            case 1: UInt64(ring.table)
            case 2: UInt64(GuestRam.size - random.below(64))
            default: number()
            }
        }

        mutating func length() -> UInt32 {
            chance(50) ? UInt32(16 * random.below(1100)) : UInt32(truncatingIfNeeded: number())
        }

        /// The driver begins anew, as after a reset.
        mutating func restart() {
            front.restart()
            front.postReceiveBuffers()
            if let probe = front.nextPacket() { front.transmit(front.answer(probe, 2)) }
        }
    }

    @Test(arguments: FuzzSeeds.all(1...8)) func nonsenseIsSurvived(_ first: UInt64) throws {
        for seed in FuzzSeeds(from: first) { try nonsense(seed) }
    }

    private func nonsense(_ seed: UInt64) throws {
        // Limits that twenty clients meet.
        let limits = GuestLimits(
            bufferSize: 16 << 10, memoryBudget: 96 << 10, connections: 12)
        var fuzzer = Fuzzer(random: SeededRandom(seed: seed), rig: try Rig(limits: limits))
        for _ in 0..<1000 { try fuzzer.step() }
        #expect(fuzzer.front.ends.isEmpty)
        #expect(fuzzer.front.ram.marginsAreClean)
        #expect(fuzzer.front.guest.violationCount > 0, "the fuzzer must have found wrong paths")
        for client in fuzzer.clients { client.leave() }
        fuzzer.restart()
        while fuzzer.front.nextPacket() != nil {}
        #expect(try fuzzer.rig.serves())
    }

    /// Requests of random kinds, sizes and contents, with descriptors or without.
    @Test(arguments: FuzzSeeds.all(1...4))
    func nonsenseInMessagesIsSurvived(_ first: UInt64) throws {
        for seed in FuzzSeeds(from: first) { try nonsenseInMessages(seed) }
    }

    private func nonsenseInMessages(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        for _ in 0..<150 {
            let front = try FrontEnd()
            if random.below(2) == 0 { front.start() }
            for _ in 0..<10 where front.ends.isEmpty {
                let payload = (0..<random.below(80)).map { _ in UInt8(random.below(3)) }
                let files = random.below(3) == 0 ? [front.ram.file] : []
                front.send(UInt32(random.below(30)), payload, files: files)
                for queue in 0..<2 { front.kick(queue) }
            }
            #expect(front.ends.allSatisfy { $0 != nil && $0?.description.isEmpty == false })
            #expect(front.ram.marginsAreClean)
        }
    }
}
