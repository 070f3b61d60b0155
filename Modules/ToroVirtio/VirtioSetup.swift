public import ToroCore

/// Brings a device from reset to ready (VIRTIO 1.2, section 3.1.1).
///
///     var setup = try VirtioSetup(transport, required: .version1, optional: .eventIndex)
///     queue = try setup.makeQueue(0, size: 64)
///     setup.finish()
///
/// The device hears of the queues in ``finish()`` and not before: a driver whose setup fails on the
/// way, for want of a queue or of memory, may free what it has made.
@Core public struct VirtioSetup {
    private let transport: any VirtioTransport
    /// The queues that were made: index, size and place of each.
    private var queues: [(index: UInt16, size: UInt16, addresses: VirtqueueAddresses)] = []

    /// The features that driver and device have agreed on.
    public let features: VirtioFeatures

    /// Resets the device and agrees on features: `required` and as many of `optional` as it
    /// offers (steps 1 to 6).
    public init(
        _ transport: any VirtioTransport, required: VirtioFeatures, optional: VirtioFeatures
    ) throws(VirtioError) {
        self.transport = transport
        guard transport.reset() else { throw .resetTimedOut }
        transport.writeStatus(.acknowledge)
        transport.writeStatus([.acknowledge, .driver])
        let offered = VirtioFeatures(rawValue: transport.deviceFeatures())
        let missing = required.subtracting(offered)
        guard missing.isEmpty else {
            transport.writeStatus([.acknowledge, .driver, .failed])
            throw .missingFeatures(missing)
        }
        features = required.union(optional.intersection(offered))
        transport.setDriverFeatures(features.rawValue)
        transport.writeStatus([.acknowledge, .driver, .featuresOK])
        guard transport.readStatus().contains(.featuresOK) else {
            transport.writeStatus([.acknowledge, .driver, .failed])
            throw .featuresRefused
        }
    }

    /// Makes the queue with this index: as large as the device allows, at most `size`, a power of
    /// two. It has to live until the device is reset.
    public mutating func makeQueue(
        _ index: UInt16, size: UInt16
    ) throws(VirtioError) -> Virtqueue {
        let limit = min(transport.maximumSize(ofQueue: index), size)
        guard limit >= 2 else {
            transport.writeStatus([.acknowledge, .driver, .featuresOK, .failed])
            throw .missingQueue(index)
        }
        let rounded = UInt16(1) << UInt16(15 - limit.leadingZeroBitCount)
        let queue: Virtqueue
        do throws(OutOfMemory) {
            queue = try Virtqueue(index: index, size: rounded, features: features)
        } catch {
            transport.writeStatus([.acknowledge, .driver, .featuresOK, .failed])
            throw .outOfMemory(error)
        }
        queues.append((index, rounded, queue.addresses))
        return queue
    }

    /// Hands the queues to the device (step 7) and tells it that the driver is ready (step 8). Nothing
    /// of the driver's setup may fail afterwards.
    public func finish() {
        for queue in queues {
            transport.enableQueue(queue.index, size: queue.size, at: queue.addresses)
        }
        transport.writeStatus([.acknowledge, .driver, .featuresOK, .driverOK])
    }
}
