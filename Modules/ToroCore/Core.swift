import CToroCore

/// The run loop of one core, as a global actor.
///
/// Code that is `@Core` runs in *a* core's run loop: drivers, streams, files and the tasks of a
/// microservice. Each core owns what it creates; nothing `@Core` is shared between cores, and no
/// `@Core` value is global and mutable (rule 1 of the house). On a Linux host there is one core,
/// a thread with a deterministic first-in, first-out queue.
@globalActor public actor Core {
    /// The running core's clock and wake-up; set once, when the core starts.
    nonisolated(unsafe) private var environment: (any Timekeeper)?

    /// Makes the actor of a core. For platforms only.
    public init() {}

    #if hasFeature(Embedded)
    /// The actor of the running core.
    public static var shared: Core {
        // SAFETY: the platform retains the core's actor for ever before it runs any task there.
        guard let context = unsafe toro_core_context() else {
            fatalError("Core.shared was used before the platform started this core")
        }
        return unsafe Unmanaged<Core>.fromOpaque(context).takeUnretainedValue()
    }
    #else
    /// The actor of the one core of a host process.
    public static let shared = Core()

    /// The host's run loop.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        // SAFETY: the run loop lives for ever.
        unsafe HostRunLoop.shared.asUnownedSerialExecutor()
    }
    #endif

    /// The running core's index, counted from 0.
    public static nonisolated var index: Int { Int(toro_core_index()) }

    /// The running core's clock.
    ///
    /// Units take a clock as an argument that defaults to this one, so that a test can pass
    /// ToroTesting's `VirtualClock`.
    @Core public static var clock: any Timekeeper {
        // SAFETY: written once, by `start(clock:)`, before the first task of this core runs.
        guard let clock = unsafe shared.environment else {
            fatalError("no platform has started this core: link ToroMicroVM or ToroHost")
        }
        return clock
    }

    /// Starts a task on this core. What a call of `Task` compiles to is here once.
    @discardableResult @inline(never)
    @Core public static func spawn(_ body: @escaping @Core () async -> Void) -> Task<Void, Never> {
        Task(operation: body)
    }

    /// Gives this core its clock. For platforms only, before the first task runs.
    public nonisolated func start(clock: any Timekeeper) {
        // SAFETY: called once by the platform while nothing else runs on this core.
        unsafe environment = clock
    }
}
