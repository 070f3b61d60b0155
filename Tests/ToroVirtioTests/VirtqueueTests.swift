import Testing
import ToroCore
import ToroTesting
import ToroVirtio

/// A queue in an object, as the testing library's macros want it.
@Core final class TestQueue {
    private var queue: Virtqueue

    init(
        _ device: MockVirtioDevice, size: UInt16 = 8, features: VirtioFeatures
    ) throws(VirtioError) {
        var setup = try VirtioSetup(device, required: .version1, optional: features)
        queue = try setup.makeQueue(0, size: size)
        setup.finish()
    }

    var size: UInt16 { queue.size }
    var inFlight: Int { Int(queue.inFlight) }
    var hasUsed: Bool { queue.hasUsed }

    func hasRoom(for segments: Int) -> Bool { queue.hasRoom(for: segments) }
    func add(_ segments: [VirtqueueSegment]) -> UInt16? { queue.add(segments.span) }
    func publish() { _ = queue.publish() }
    func arm() -> Bool { queue.arm() }
    func disarm() { queue.disarm() }

    func popUsed() throws(VirtqueueError) -> UInt16? { try popWritten()?.slot }

    func popWritten() throws(VirtqueueError) -> (slot: UInt16, written: Int)? {
        try queue.popUsed()
    }
}

@Suite struct VirtqueueTests {
    static let variants: [VirtioFeatures] = [
        .version1, [.version1, .indirectDescriptors], [.version1, .eventIndex],
        [.version1, .indirectDescriptors, .eventIndex],
    ]

    @Core private func device(_ features: VirtioFeatures, size: UInt16 = 8) -> MockVirtioDevice {
        MockVirtioDevice(.block, queueSizes: [size], features: features)
    }

    /// Chains of random shapes, finished in random order, against a device that reads the rings
    /// with code of its own.
    @Test(arguments: variants) @Core func chainsComeBackAsTheyWere(
        _ features: VirtioFeatures
    ) throws {
        let device = device(features)
        let queue = try TestQueue(device, size: 64, features: features)
        #expect(queue.size == 8)
        var memory = try IOBuffer(capacity: 1 << 16)
        for index in 0..<memory.capacity { memory.append(UInt8(truncatingIfNeeded: index)) }
        let base = memory.deviceAddress
        var random = SeededRandom(seed: features.rawValue)
        var expected: [UInt16: (readable: [UInt8], capacity: Int)] = [:]
        var held: [MockChain] = []
        for _ in 0..<20_000 {
            if random.below(2) == 0 {
                let (readers, writers) = (random.below(4), random.below(4))
                var segments: [VirtqueueSegment] = []
                var bytes: [UInt8] = []
                var capacity = 0
                for position in 0..<readers + writers {
                    let (start, length) = (random.below(60_000), 1 + random.below(50))
                    if position < readers {
                        segments.append(.readable(base + UInt64(start), length))
                        bytes += (start..<start + length).map { UInt8(truncatingIfNeeded: $0) }
                    } else {
                        segments.append(.writable(base + UInt64(start), length))
                        capacity += length
                    }
                }
                let hasRoom = queue.hasRoom(for: segments.count)
                let slot = queue.add(segments)
                #expect((slot != nil) == (hasRoom && !segments.isEmpty))
                if let slot {
                    #expect(expected[slot] == nil, "a slot was given twice")
                    expected[slot] = (bytes, capacity)
                }
                queue.publish()
            }
            while let chain = device.take(0) {
                #expect(expected[chain.head]?.readable == chain.readable)
                #expect(expected[chain.head]?.capacity == chain.capacity)
                held.append(chain)
            }
            if random.below(2) == 0, !held.isEmpty {
                let chain = held.remove(at: random.below(held.count))
                device.queues[0]?.give(
                    head: UInt32(chain.head), written: UInt32(random.below(chain.capacity + 1)))
            }
            while let slot = try queue.popUsed() { expected[slot] = nil }
            #expect(queue.inFlight == expected.count)
        }
        // The device may have written into the memory: it lives to the end.
        #expect(memory.count == 1 << 16)
    }

    @Test(arguments: variants) @Core func liesEndTheQueueWithATypedError(
        _ features: VirtioFeatures
    ) throws {
        let lies: [(VirtqueueError, (MockQueue, MockChain) -> Void)] = [
            (.unknownChain(7), { queue, _ in queue.give(head: 7, written: 0) }),
            (.unknownChain(1 << 31), { queue, _ in queue.give(head: 1 << 31, written: 0) }),
            (
                .usedIndexJumped(from: 0, to: 2, inFlight: 1),
                { queue, _ in queue.setUsedIndex(2) }
            ),
            (
                .usedIndexJumped(from: 0, to: 0xffff, inFlight: 1),
                { queue, _ in queue.setUsedIndex(0xffff) }
            ),
            (
                .lengthTooLarge(17, capacity: 16),
                { queue, chain in queue.give(head: UInt32(chain.head), written: 17) }
            ),
        ]
        for (error, lie) in lies {
            let device = device(features)
            let queue = try TestQueue(device, features: features)
            let memory = try IOBuffer(capacity: 64)
            let segments = [VirtqueueSegment.writable(memory.deviceAddress, 16)]
            #expect(queue.add(segments) != nil)
            queue.publish()
            let chain = try #require(device.take(0))
            lie(try #require(device.queues[0]), chain)
            var found: VirtqueueError?
            do throws(VirtqueueError) { _ = try queue.popUsed() } catch { found = error }
            #expect(found == error)
            // And that was the end of it.
            #expect(queue.add(segments) == nil)
            #expect(!queue.hasRoom(for: 1))
            #expect(try queue.popUsed() == nil)
        }
    }

    @Test @Core func aChainIsNotDoneTwice() throws {
        let device = device(.version1)
        let queue = try TestQueue(device, features: .version1)
        let memory = try IOBuffer(capacity: 64)
        let segments = [VirtqueueSegment.writable(memory.deviceAddress, 16)]
        for _ in 0..<2 { #expect(queue.add(segments) != nil) }
        queue.publish()
        let chain = try #require(device.take(0))
        for _ in 0..<2 { device.queues[0]?.give(head: UInt32(chain.head), written: 0) }
        #expect(try queue.popUsed() == chain.head)
        #expect(throws: VirtqueueError.unknownChain(UInt32(chain.head))) {
            try queue.popUsed()
        }
    }

    /// The used ring overwritten at random while chains are in flight.
    @Test(arguments: FuzzSeeds.all(1...200)) @Core func survivesAScribblingDevice(_ first: UInt64)
        throws
    {
        for seed in FuzzSeeds(from: first) { try scribble(seed) }
    }

    @Core private func scribble(_ seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let features = VirtqueueTests.variants[random.below(4)]
        let device = device(features)
        let queue = try TestQueue(device, features: features)
        let memory = try IOBuffer(capacity: 64)
        let segments = [VirtqueueSegment.writable(memory.deviceAddress, 16)]
        var inFlight = Set<UInt16>()
        for _ in 0..<50 {
            if let slot = queue.add(segments) { inFlight.insert(slot) }
            queue.publish()
            // Every other lie is nearly true: a used element with a wrong number or length.
            if random.below(2) == 0 {
                device.queues[0]?.give(
                    head: UInt32(random.below(9)), written: UInt32(random.below(20)))
            } else {
                device.queues[0]?.scribble { random.below(3) == 0 ? UInt8(random.below(256)) : 0 }
            }
            do throws(VirtqueueError) {
                for _ in 0..<100 {
                    guard let (slot, written) = try queue.popWritten() else { break }
                    #expect(inFlight.remove(slot) != nil)
                    #expect(written <= 16)
                }
            } catch {
                #expect(queue.add(segments) == nil)
                return
            }
            #expect(queue.inFlight == inFlight.count)
        }
    }

    @Test @Core func armingSeesWhatCameMeanwhile() throws {
        for features in VirtqueueTests.variants {
            let device = device(features)
            let queue = try TestQueue(device, features: features)
            let memory = try IOBuffer(capacity: 64)
            let segments = [VirtqueueSegment.writable(memory.deviceAddress, 16)]
            _ = queue.add(segments)
            queue.publish()
            #expect(queue.arm())
            let chain = try #require(device.take(0))
            queue.disarm()
            device.queues[0]?.give(head: UInt32(chain.head), written: 0)
            #expect(!queue.arm())
            #expect(queue.hasUsed)
            _ = try queue.popUsed()
            #expect(queue.arm())
        }
    }
}

@Suite struct NegotiationTests {
    @Test @Core func whatADeviceLacksIsNamed() {
        let legacy = MockVirtioDevice(.socket, queueSizes: [8], features: .eventIndex)
        #expect(throws: VirtioError.missingFeatures(.version1)) {
            _ = try VirtioSetup(legacy, required: .version1, optional: .eventIndex)
        }
        #expect(legacy.status.contains(.failed))
        let stubborn = MockVirtioDevice(.socket, queueSizes: [8])
        stubborn.acceptsFeatures = false
        #expect(throws: VirtioError.featuresRefused) {
            _ = try VirtioSetup(stubborn, required: .version1, optional: [])
        }
        let hanging = MockVirtioDevice(.socket, queueSizes: [8])
        hanging.hangsInReset = true
        #expect(throws: VirtioError.resetTimedOut) {
            _ = try VirtioSetup(hanging, required: .version1, optional: [])
        }
        let small = MockVirtioDevice(.socket, queueSizes: [1, 0])
        for index in 0..<3 as Range<UInt16> {
            var failure: VirtioError?
            do throws(VirtioError) {
                var setup = try VirtioSetup(small, required: .version1, optional: [])
                _ = try setup.makeQueue(index, size: 8)
            } catch {
                failure = error
            }
            #expect(failure == .missingQueue(index))
        }
    }

    @Test @Core func takesOnlyWhatItKnows() throws {
        let device = MockVirtioDevice(
            .socket, queueSizes: [100], features: VirtioFeatures(rawValue: .max))
        let agreed = try VirtioSetup(device, required: .version1, optional: .eventIndex).features
        #expect(agreed == [.version1, .eventIndex])
        #expect(device.driverFeatures == agreed.rawValue)
        // A size that is no power of two is rounded down.
        #expect(try TestQueue(device, size: 128, features: agreed).size == 64)
    }
}
