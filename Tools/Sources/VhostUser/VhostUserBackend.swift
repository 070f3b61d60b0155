/// A device behind a vhost-user session.
public protocol VhostUserBackend: AnyObject {
    /// The device's own features, without those of rings and transport.
    var deviceFeatures: UInt64 { get }
    /// How many queues the back end serves.
    var queueCount: Int { get }
    /// The device's configuration space.
    var configuration: [UInt8] { get }
    /// A queue can be used from now on.
    func queueStarted(_ index: Int)
    /// The guest says that it added to a queue.
    func queueKicked(_ index: Int)
    /// A queue is about to stop: what the guest has put into it before may still be taken.
    func queueStops(_ index: Int)
    /// A queue must not be touched any more: the guest reset the device, or pauses.
    func queueStopped(_ index: Int)
    /// An interrupt of a queue had to be repeated: only then did the guest take what it was shown.
    /// Never in normal runs.
    func signalWasLate(_ index: Int)
    /// The front end is gone, for the reason given if it was no orderly end.
    func disconnected(_ reason: HostError?)
}
