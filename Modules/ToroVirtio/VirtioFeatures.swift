import ToroCore

/// Feature bits (VIRTIO 1.2, section 2.2).
public struct VirtioFeatures: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt64
    /// The features with these bits.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// VIRTIO_F_INDIRECT_DESC: descriptors may point to tables of descriptors.
    public static let indirectDescriptors = VirtioFeatures(rawValue: 1 << 28)
    /// VIRTIO_F_EVENT_IDX: notifications are suppressed by index.
    public static let eventIndex = VirtioFeatures(rawValue: 1 << 29)
    /// VIRTIO_F_VERSION_1: the device is no legacy device.
    public static let version1 = VirtioFeatures(rawValue: 1 << 32)
}

/// Why a device cannot be driven.
public enum VirtioError: ToroError, Equatable {
    /// The register window does not begin with "virt": the value that is there.
    case badMagic(UInt32)
    /// The window's version is not 2; 1 is the legacy interface.
    case unsupportedVersion(UInt32)
    /// The device lacks required features: their bits.
    case missingFeatures(VirtioFeatures)
    /// The device did not take the features it offered.
    case featuresRefused
    /// The device did not finish its reset in time.
    case resetTimedOut
    /// The device has no queue of that index, or one that is too small.
    case missingQueue(UInt16)
    /// No memory for the rings.
    case outOfMemory(OutOfMemory)

    /// What was wrong and what to do.
    public var explanation: String {
        switch self {
        case .badMagic: "no virtio device answers at its address"
        case .unsupportedVersion:
            """
            the virtio device is a legacy one; start QEMU with \
            -global virtio-mmio.force-legacy=false
            """
        case .missingFeatures: "the virtio device lacks a feature the driver needs"
        case .featuresRefused: "the virtio device refused the features it offered"
        case .resetTimedOut: "the virtio device does not answer a reset"
        case .missingQueue: "the virtio device lacks a queue the driver needs"
        case .outOfMemory: "out of memory for the rings; give the guest more memory"
        }
    }
}

extension VirtioTransport {
    /// Resets the device and agrees on features: `required` and as many of `optional` as it
    /// offers (VIRTIO 1.2, 3.1.1, steps 1 to 6). Returns the agreed features.
    ///
    /// Set the queues up next, then call ``start()``.
    public func negotiate(
        required: VirtioFeatures, optional: VirtioFeatures
    ) throws(VirtioError) -> VirtioFeatures {
        writeStatus([])
        guard readStatus().isEmpty else { throw .resetTimedOut }
        writeStatus(.acknowledge)
        writeStatus([.acknowledge, .driver])
        let offered = VirtioFeatures(rawValue: deviceFeatures())
        let missing = required.subtracting(offered)
        guard missing.isEmpty else {
            writeStatus([.acknowledge, .driver, .failed])
            throw .missingFeatures(missing)
        }
        let agreed = required.union(optional.intersection(offered))
        setDriverFeatures(agreed.rawValue)
        writeStatus([.acknowledge, .driver, .featuresOK])
        guard readStatus().contains(.featuresOK) else {
            writeStatus([.acknowledge, .driver, .failed])
            throw .featuresRefused
        }
        return agreed
    }

    /// Tells the device that the driver is ready (step 8).
    public func start() {
        writeStatus([.acknowledge, .driver, .featuresOK, .driverOK])
    }

    /// Makes the queue with this index: as large as the device allows, at most `size`, a power of
    /// two.
    public func makeQueue(
        _ index: UInt16, size: UInt16, features: VirtioFeatures
    ) throws(VirtioError) -> Virtqueue {
        let limit = min(maximumSize(ofQueue: index), size)
        guard limit >= 2 else { throw .missingQueue(index) }
        let rounded = UInt16(1) << UInt16(15 - limit.leadingZeroBitCount)
        let queue: Virtqueue
        do throws(OutOfMemory) {
            queue = try Virtqueue(index: index, size: rounded, features: features)
        } catch {
            throw .outOfMemory(error)
        }
        enableQueue(index, size: rounded, at: queue.addresses)
        return queue
    }
}
