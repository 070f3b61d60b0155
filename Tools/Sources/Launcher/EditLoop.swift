import Foundation

/// A package that is built and booted anew whenever it is saved.
///
/// The guest that serves goes on until the next one is ready, whether that takes long or cannot be:
/// the published ports listen all the time, and their clients go to the guest whose turn it is.
/// Use it on one thread.
public final class EditLoop {
    /// What a build has made, and how it is run.
    public struct Plan: Sendable {
        let image: Image
        let machine: Machine
        let shares: [Share]
        let ports: [PublishedPort]
        let device: String?
        let limits: PortLimits
        let isRaw: Bool
        let onPanic: @Sendable (PanicReport) -> Void
        let onStuck: @Sendable (String) -> Void
        /// What the image was when it was built.
        private let bytes: Data

        /// A guest to boot: see `Launch`.
        public init(
            _ image: Image, _ machine: Machine, shares: [Share], ports: [PublishedPort],
            device: String?, limits: PortLimits, isRaw: Bool,
            onStuck: @escaping @Sendable (String) -> Void,
            onPanic: @escaping @Sendable (PanicReport) -> Void
        ) {
            self.image = image
            self.machine = machine
            self.shares = shares
            self.ports = ports
            self.device = device
            self.limits = limits
            self.isRaw = isRaw
            self.onPanic = onPanic
            self.onStuck = onStuck
            bytes = FileManager.default.contents(atPath: image.path) ?? Data()
        }

        func isSame(as other: Plan) -> Bool {
            bytes == other.bytes && shares == other.shares && ports == other.ports
                && machine.memory == other.machine.memory
        }
    }

    /// What the person at the terminal is told.
    public enum Event {
        /// The image is built, and about to be booted.
        case booting(Image, Machine)
        /// The service listens on a port, so long after the change was saved that made it; without a
        /// time it is the first guest.
        case ready(PublishedPort, Image, after: Duration?)
        /// The service that has its turn does not listen there.
        case silent(PublishedPort)
        /// The guest that had its turn has ended, with its status.
        case ended(Int32)
        /// What was saved changes nothing.
        case unchanged
        /// There is no new guest; whether one that serves goes on.
        case failed(LaunchError, goesOn: Bool)
    }

    private let builder: ImageBuild
    private let package: String
    private let build: @Sendable () throws -> Plan
    private let tell: (Event) -> Void
    private let watch: SourceWatch
    private let news: EventQueue<News>

    /// The guest whose turn it is.
    private var serving: Generation?
    /// The next one, until it is ready.
    private var candidate: Generation?
    /// Those that end as their clients do.
    private var leaving: [Generation] = []
    /// Where the host listens, by what was asked for.
    private var listening: [String: ListeningPort] = [:]
    private var lastID = 0

    private var isBuilding = false
    /// Whether something was saved since the build began.
    private var isStale = false
    /// When what the candidate is built from was saved.
    private var saved: ContinuousClock.Instant?
    private var plan: FileStamp?

    private enum News: Sendable {
        case built(Result<Plan, LaunchError>)
        case guest(Int, Generation.Event)
    }

    /// How long a guest whose turn is over may finish what it does for its clients.
    static let leavingTime = Duration.seconds(30)
    /// How long it must be quiet after a change before a build: an editor does more than one thing to
    /// save a file, and more than one file is saved at once.
    private static let settlingTime = Duration.milliseconds(10)

    /// A loop for the package in a folder. `build` makes an image and says how to run it; changes in
    /// the folders that are `shared` with the guest are none of the package's.
    public init(
        _ package: String, builder: ImageBuild, shared: [String],
        build: @escaping @Sendable () throws -> Plan, tell: @escaping (Event) -> Void
    ) throws(LaunchError) {
        self.package = package
        self.builder = builder
        self.build = build
        self.tell = tell
        watch = try SourceWatch(ignoring: shared)
        news = try EventQueue()
    }

    /// Runs until a signal comes.
    public func run() throws(LaunchError) -> Never {
        defer { end() }
        try watch.add(package)
        beginBuild()
        while true {
            let deadline = (leaving.map(\.deadline) + [candidate?.deadline]).compactMap { $0 }.min()
            awaitReadable([Interrupts.reader, news.reader, watch.reader], until: deadline)
            try Interrupts.check()
            for item in news.take() {
                switch item {
                case .built(let result): try built(result)
                case .guest(let name, let event): heard(event, of: name)
                }
            }
            for guest in leaving where guest.isLate { guest.stop() }
            if let candidate, candidate.isLate {
                candidate.waitOn()
                tellWaiting(LaunchError("the new guest has not come up yet"))
            }
            if try watch.hasChanged() { try change() }
        }
    }

    // MARK: Building

    private func change() throws(LaunchError) {
        let now = ContinuousClock.now
        while true {
            awaitReadable([watch.reader, Interrupts.reader], until: .now + EditLoop.settlingTime)
            try Interrupts.check()
            guard try watch.hasChanged(), .now - now < .seconds(1) else { break }
        }
        saved = now
        if isBuilding { isStale = true } else { beginBuild() }
    }

    private func beginBuild() {
        isBuilding = true
        isStale = false
        Thread.detachNewThread { [build, news] in
            do {
                news.put(.built(.success(try build())))
            } catch {
                let reason = error as? LaunchError ?? LaunchError("\(error)")
                news.put(.built(.failure(reason)))
            }
        }
    }

    private func built(_ result: Result<Plan, LaunchError>) throws(LaunchError) {
        isBuilding = false
        try Interrupts.check()
        try watchSources()
        // What was built is not what is saved by now.
        if isStale { return beginBuild() }
        do throws(LaunchError) {
            let plan = try result.get()
            if let newest = candidate ?? serving, newest.plan.isSame(as: plan) {
                return tell(.unchanged)
            }
            try boot(plan)
        } catch {
            // A guest of what was saved before is not what is wanted, but better than none.
            tell(.failed(error, goesOn: serving != nil || candidate != nil))
        }
    }

    /// A build may have found further sources.
    private func watchSources() throws(LaunchError) {
        let stamp = FileStamp(builder.plan(of: package))
        guard stamp != plan else { return }
        plan = stamp
        for folder in builder.sourceFolders(of: package) { try watch.add(folder) }
    }

    // MARK: Turns

    private func boot(_ plan: Plan) throws(LaunchError) {
        var asked: [String: ListeningPort] = [:]
        for port in plan.ports {
            // The guest's ports tell those apart that any port of the host will do for.
            let name = port.port == 0 ? port.description : "\(port.host):\(port.port)"
            if let own = listening[name] {
                asked[name] = own.leading(to: port.guestPort)
            } else {
                asked[name] = try ListeningPort(port)
            }
        }
        tell(.booting(plan.image, plan.machine))
        if let candidate { dismiss(candidate) }
        candidate = nil
        // Without ports nobody can tell when the next one is ready.
        if asked.isEmpty, let serving {
            dismiss(serving)
            self.serving = nil
        }
        lastID += 1
        let next = try Generation(lastID, plan, asked, saved: saved) { [news, id = lastID] event in
            news.put(.guest(id, event))
        }
        listening.merge(asked) { _, new in new }
        if serving == nil {
            serving = next
            next.takeTurn()
        } else {
            candidate = next
        }
    }

    /// Ends a guest at once.
    private func dismiss(_ guest: Generation) {
        guest.stop()
        leaving.append(guest)
    }

    /// The candidate's turn has come.
    private func switchOver() {
        guard let next = candidate else { return }
        // What comes between the two of them waits in the backlog. One without ports has no clients.
        if let serving, serving.ports.isEmpty {
            dismiss(serving)
        } else if let serving {
            serving.leave(within: EditLoop.leavingTime)
            leaving.append(serving)
        }
        next.takeTurn()
        serving = next
        candidate = nil
        closePorts()
        for port in next.ready { tellReady(port, next) }
    }

    /// Stops listening for guests that are not there any more.
    private func closePorts() {
        let names = [serving, candidate].compactMap { $0?.ports }.reduce(Set()) { $0.union($1) }
        // While there is no guest, clients wait for the next one.
        if !names.isEmpty { listening = listening.filter { names.contains($0.key) } }
    }

    private func heard(_ event: Generation.Event, of id: Int) {
        if let serving, serving.id == id {
            servingGuest(serving, event)
        } else if let candidate, candidate.id == id {
            nextGuest(candidate, event)
        } else if let index = leaving.firstIndex(where: { $0.id == id }) {
            switch event {
            case .left: leaving[index].stop()
            case .ended: leaving.remove(at: index)
            default: break
            }
        }
    }

    private func servingGuest(_ guest: Generation, _ event: Generation.Event) {
        switch event {
        case .ready(let port): tellReady(port, guest)
        case .silent(let port): tell(.silent(port))
        case .left: break
        case .ended(let result):
            serving = nil
            switch result {
            case .success(let status): tell(.ended(status))
            case .failure(let error): tell(.failed(error, goesOn: candidate != nil))
            }
            switchOver()
        }
    }

    private func nextGuest(_ guest: Generation, _ event: Generation.Event) {
        switch event {
        case .ready(let port): if guest.hear(of: port, isReady: true) { switchOver() }
        case .silent(let port):
            guard guest.hear(of: port, isReady: false) else { return }
            if !guest.ready.isEmpty { return switchOver() }
            // A busy host gives it no time: it has its turn when it listens, however late.
            tellWaiting(
                LaunchError("the new guest does not listen on its port \(port.guestPort) yet"))
        case .left: break
        case .ended(.success(let status)):
            giveUp(LaunchError("the new guest ended with status \(status) before it served"))
        case .ended(.failure(let error)): giveUp(error)
        }
    }

    /// There is no successor yet.
    private func giveUp(_ reason: LaunchError) {
        candidate = nil
        closePorts()
        tellWaiting(reason)
    }

    private func tellWaiting(_ reason: LaunchError) { tell(.failed(reason, goesOn: true)) }

    private func tellReady(_ port: PublishedPort, _ guest: Generation) {
        tell(.ready(port, guest.plan.image, after: guest.saved.map { .now - $0 }))
    }

    /// Ends every guest, and the build.
    private func end() {
        for guest in [serving, candidate].compactMap({ $0 }) + leaving { guest.stop() }
        var running = Set(([serving, candidate].compactMap { $0 } + leaving).map(\.id))
        let deadline = ContinuousClock.now + .seconds(3)
        while isBuilding || !running.isEmpty, .now < deadline {
            awaitReadable([news.reader], until: deadline)
            for item in news.take() {
                switch item {
                case .built: isBuilding = false
                case .guest(let id, .ended): running.remove(id)
                case .guest: break
                }
            }
        }
    }
}

/// Things that other threads put there for one that waits for descriptors.
private final class EventQueue<Item: Sendable>: @unchecked Sendable {
    // SAFETY (@unchecked): the items are only touched under the lock.
    private let lock = NSLock()
    private var items: [Item] = []
    private let wakeup: Wakeup
    /// Polls readable when there is something.
    var reader: Int32 { wakeup.reader }

    init() throws(LaunchError) { wakeup = try Wakeup() }

    func put(_ item: Item) {
        lock.withLock { items.append(item) }
        wakeup.call()
    }

    func take() -> [Item] {
        _ = wakeup.wasCalled()
        return lock.withLock {
            defer { items.removeAll() }
            return items
        }
    }
}
