#if !hasFeature(Embedded)
import CToroCore
import Glibc

/// What a host's run loop waits on besides its own queue: ToroHost's epoll set and timers.
public protocol HostPoller: AnyObject, Sendable {
    /// Waits for events for as long as there are none, if `blocking`, and serves those there are.
    /// Called on the loop's thread only.
    func poll(blocking: Bool)

    /// Makes a waiting `poll` return soon. Called from any thread.
    func wake()
}

/// The run loop of a Linux process: one thread, one first-in, first-out queue of jobs.
///
/// The order of jobs is the order in which they were enqueued, so a test that keeps to virtual
/// time runs the same way every time.
@safe public final class HostRunLoop: SerialExecutor, @unchecked Sendable {
    // SAFETY (@unchecked): every field is read and written under `mutex` only.
    /// The process's run loop; its thread starts with the first job.
    public static let shared = HostRunLoop()

    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [UnownedJob] = []
    private var settling: [CheckedContinuation<Void, Never>] = []
    private var poller: (any HostPoller)?
    private var started = false
    private var thread = pthread_t()
    private var waiting = false

    private init() {
        // SAFETY: the two objects were allocated above and live for ever with the singleton.
        unsafe pthread_mutex_init(mutex, nil)
        unsafe pthread_cond_init(condition, nil)
    }

    /// Makes the loop wait in `poller` instead of on its queue alone. Once per process.
    public func install(_ poller: any HostPoller) {
        locked {
            precondition(self.poller == nil, "the run loop has a poller already")
            self.poller = poller
            // SAFETY: see init.
            unsafe pthread_cond_signal(condition)
        }
    }

    /// Suspends until every job in the queue, and every job those add, has run.
    @Core public func settle() async {
        await withCheckedContinuation { continuation in
            locked { settling.append(continuation) }
        }
    }

    /// Resumes a task of the loop, in `body`, so that it is the queue's next job but for those
    /// that are there.
    ///
    /// Swift gives what a continuation resumes to its thread pool, where it asks for its own
    /// executor: it would come back at some time, in any order, and `settle` would not know of it.
    func resume(_ body: () -> Void) {
        // SAFETY: an UnownedJob is the pointer to the job, which nobody else has.
        unsafe toro_host_divert_jobs { job in
            HostRunLoop.shared.add(unsafe unsafeBitCast(job, to: UnownedJob.self))
        }
        body()
        toro_host_divert_jobs(nil)
    }

    /// Adds a job to the end of the queue.
    public func enqueue(_ job: consuming ExecutorJob) { add(UnownedJob(job)) }

    private func add(_ job: UnownedJob) {
        let sleeper: (any HostPoller)? = locked {
            jobs.append(job)
            if !started {
                started = true
                startThread()
            }
            guard waiting else { return nil }
            // SAFETY: see init.
            unsafe pthread_cond_signal(condition)
            return poller
        }
        sleeper?.wake()
    }

    /// Whether this is the loop's thread.
    var isCurrent: Bool { locked { started && pthread_equal(thread, pthread_self()) != 0 } }

    /// Traps unless called on the loop's thread.
    public func preconditionOnLoop() {
        precondition(isCurrent, "this must run on the run loop's thread")
    }

    private func locked<T>(_ body: () -> T) -> T {
        // SAFETY: the mutex lives for ever and is not locked by this thread.
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return body()
    }

    private func startThread() {
        // SAFETY: the start routine takes no context; the singleton is immortal.
        let code = unsafe pthread_create(
            &thread, nil,
            { _ in
                HostRunLoop.shared.run()
                return nil
            }, nil)
        precondition(code == 0, "cannot start the run loop's thread")
        pthread_detach(thread)
    }

    private func run() {
        while true {
            let (batch, poller) = locked { () -> ([UnownedJob], (any HostPoller)?) in
                let batch = jobs
                jobs.removeAll(keepingCapacity: true)
                return (batch, self.poller)
            }
            for job in batch {
                // SAFETY: each job is taken from the queue once and run once.
                unsafe job.runSynchronously(on: asUnownedSerialExecutor())
            }
            if let poller { poller.poll(blocking: prepareToWait()) } else { waitForJob() }
            locked { waiting = false }
        }
    }

    /// With nothing to run, lets those go on who wait for that; true if there is still nothing.
    private func prepareToWait() -> Bool {
        let (idle, settled) = locked { () -> (Bool, [CheckedContinuation<Void, Never>]) in
            guard jobs.isEmpty else { return (false, []) }
            let settled = settling
            settling.removeAll()
            waiting = settled.isEmpty
            return (settled.isEmpty, settled)
        }
        for continuation in settled { continuation.resume() }
        return idle
    }

    private func waitForJob() {
        guard prepareToWait() else { return }
        locked {
            while jobs.isEmpty && poller == nil {
                // SAFETY: the mutex is held, as pthread_cond_wait requires.
                unsafe pthread_cond_wait(condition, mutex)
            }
        }
    }
}
#endif
