import CMicroVM
import ToroCore
import ToroProcess

/// The running cores of the machine: what crosses from one to another goes through here.
public struct Cores: Sendable {
    private let mailboxes: [Mailbox]
    private let apicIDs: [UInt64]

    init(mailboxes: [Mailbox], apicIDs: [UInt64]) {
        self.mailboxes = mailboxes
        self.apicIDs = apicIDs
    }

    /// The number of cores that run, 1 at least. Their indices count from 0 (``Core/index``).
    public var count: Int { mailboxes.count }

    /// Runs `work` in the run loop of the core with this index, soon. For the rules of what
    /// `work` may touch see ``Mailbox``.
    public func run(on core: Int, _ work: @escaping @Core @Sendable () -> Void) {
        precondition(mailboxes.indices.contains(core), "there is no core of this index")
        guard mailboxes[core].post(work) else { return }
        #if hasFeature(Embedded)
        LocalAPIC.wake(apicIDs[core])
        #endif
    }

    /// Has the further cores halt for good, when they have done what was left for them before.
    /// Nothing runs on them afterwards.
    public func goHome() {
        #if hasFeature(Embedded)
        for core in 1..<max(count, 1) { run(on: core) { toro_stop() } }
        #endif
    }
}

extension MicroVM {
    /// Brings up the machine's further cores, each with a run loop of its own. To be called once.
    ///
    /// A core that does not start is reported on the console; it and those behind it are left out.
    public func startCores() -> Cores {
        #if hasFeature(Embedded)
        return FurtherCores.start()
        #else
        return Cores(mailboxes: [Mailbox()], apicIDs: [0])
        #endif
    }
}
