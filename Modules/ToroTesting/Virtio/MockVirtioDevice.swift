// Embedded Swift has no weak references; a guest needs no device to play with.
#if !hasFeature(Embedded)
public import ToroCore
public import ToroVirtio

/// A virtio device in the test's own memory: it reads the driver's rings as a real device does,
/// with no code of the driver's, and misbehaves where a test tells it to.
///
/// Addresses are those of the process, so memory that a driver shows to a device is really shared.
@Core public final class MockVirtioDevice: VirtioTransport {
    /// The kind of device it plays.
    public nonisolated let deviceID: VirtioDeviceID
    /// The features it offers.
    public var offeredFeatures: UInt64
    /// Whether it takes what the driver chose.
    public var acceptsFeatures = true
    /// Whether a reset never ends: the device goes on writing where it may.
    public var hangsInReset = false
    /// The largest size of each queue.
    public var queueSizes: [UInt16]
    /// The device-specific configuration.
    public var configuration: [UInt8]
    /// A number that changes with the configuration.
    public var configurationGeneration: UInt32 = 0
    /// Called after each read of a part of the configuration.
    public var onConfigurationRead: (@Core () -> Void)?
    /// Set if the device cannot be driven: how.
    public var defect: VirtioError?

    /// What the driver wrote last.
    public private(set) var status: VirtioStatus = []
    /// The features the driver took.
    public private(set) var driverFeatures: UInt64 = 0
    /// The queues that are set up.
    public private(set) var queues: [MockQueue?]
    /// How often the driver has notified each queue.
    public private(set) var notifications: [Int]
    /// How often the driver has reset the device.
    public private(set) var resets = 0

    /// How many of the driver's next notifications are lost.
    public var lostNotifications = 0
    /// How many of the device's next interrupts are lost.
    public var lostInterrupts = 0

    /// Called when the driver notifies a queue.
    public var onNotify: (@Core (_ queue: Int) -> Void)?
    /// The driver, which is polled after the device has finished something.
    public weak var driver: (any Pollable)?
    private var isPollScheduled = false
    /// Called instead for an interrupt, by a test that runs a run loop.
    public var onInterrupt: (@Core () -> Void)?

    /// A device of this kind with these queues.
    public init(
        _ deviceID: VirtioDeviceID, queueSizes: [UInt16], configuration: [UInt8] = [],
        features: VirtioFeatures = [.version1, .indirectDescriptors, .eventIndex]
    ) {
        self.deviceID = deviceID
        self.queueSizes = queueSizes
        self.configuration = configuration
        offeredFeatures = features.rawValue
        queues = queueSizes.map { _ in nil }
        notifications = queueSizes.map { _ in 0 }
    }

    /// Takes the next chain of a queue.
    public func take(_ queue: Int) -> MockChain? { queues[queue]?.take() }

    /// The device's interrupt: has the driver look, in a later job.
    public func interrupt() {
        if lostInterrupts > 0 {
            lostInterrupts -= 1
            return
        }
        if let onInterrupt { return onInterrupt() }
        guard !isPollScheduled, driver != nil else { return }
        isPollScheduled = true
        Task {
            isPollScheduled = false
            _ = driver?.poll()
        }
    }

    // MARK: The driver's side

    /// See ``ToroVirtio/VirtioTransport``.
    public func readStatus() -> VirtioStatus {
        acceptsFeatures ? status : status.subtracting(.featuresOK)
    }

    /// See ``ToroVirtio/VirtioTransport``.
    public func writeStatus(_ status: VirtioStatus) { self.status = status }

    /// See ``ToroVirtio/VirtioTransport``.
    public func reset() -> Bool {
        resets += 1
        if hangsInReset { return false }
        status = []
        queues = queues.map { _ in nil }
        return true
    }

    /// See ``ToroVirtio/VirtioTransport``.
    public func deviceFeatures() -> UInt64 { offeredFeatures }

    /// See ``ToroVirtio/VirtioTransport``.
    public func setDriverFeatures(_ features: UInt64) { driverFeatures = features }

    /// See ``ToroVirtio/VirtioTransport``.
    public func maximumSize(ofQueue index: UInt16) -> UInt16 {
        queueSizes.indices.contains(Int(index)) ? queueSizes[Int(index)] : 0
    }

    /// See ``ToroVirtio/VirtioTransport``.
    public func enableQueue(_ index: UInt16, size: UInt16, at addresses: VirtqueueAddresses) {
        queues[Int(index)] = MockQueue(size: size, at: addresses)
    }

    /// See ``ToroVirtio/VirtioTransport``.
    public func notify(queue index: UInt16) {
        notifications[Int(index)] += 1
        if lostNotifications > 0 {
            lostNotifications -= 1
            return
        }
        onNotify?(Int(index))
    }

    /// See ``ToroVirtio/VirtioTransport``.
    public func configurationByte(at offset: Int) -> UInt8 {
        defer { onConfigurationRead?() }
        return configuration.indices.contains(offset) ? configuration[offset] : 0
    }

    /// See ``ToroVirtio/VirtioTransport``.
    public func configurationWord(at offset: Int) -> UInt32 {
        precondition(offset % 4 == 0, "an access that is not aligned")
        defer { onConfigurationRead?() }
        return configuration.dropFirst(offset).prefix(4).reversed().reduce(0) {
            $0 << 8 | UInt32($1)
        }
    }
}

/// A bus with mock devices in its slots.
@Core public final class MockVirtioBus: VirtioBus {
    private var devices: [MockVirtioDevice?]

    /// A bus with these devices.
    public init(_ devices: MockVirtioDevice...) { self.devices = devices }

    /// See ``ToroVirtio/VirtioBus``.
    public var slotCount: Int { devices.count }

    /// See ``ToroVirtio/VirtioBus``.
    public func device(inSlot slot: Int) throws(VirtioError) -> (any VirtioTransport)? {
        if let defect = devices[slot]?.defect { throw defect }
        return devices[slot]
    }

    /// See ``ToroVirtio/VirtioBus``.
    public func claim(slot: Int, for driver: any Pollable) {
        devices[slot]?.driver = driver
        devices[slot] = nil
    }
}
#endif
