// One turn with a voicefsm server: node client.mjs HOST:PORT PATH/TO/conversation.proto "What to say"
//
// Shows all a client must do: send the microphone's audio with two sample positions, render what arrives at its own pace, obey
// pause, resume and cancel at once, and say how far the loudspeaker is. Here the microphone is silence and the loudspeaker a timer.
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [target, protoPath, text] = process.argv.slice(2);
const RATE_HZ = 16000, FRAME = 320, FRAME_MS = 20, DEADLINE_MS = 60000;

const definition = loader.loadSync(protoPath, { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true });
const { ConversationService } = grpc.loadPackageDefinition(definition).voicefsm.v1;

// The jitter buffer: chunks in order; `position` is the next far-end sample to be rendered.
const player = {
  chunks: [], position: 0, paused: false, cancelled: 0, rendered: 0,
  push({ epoch, first_sample, data }) {
    if (epoch > this.cancelled && data.length) this.chunks.push({ epoch, first: first_sample, length: data.length / 2 });
    if (this.chunks.length) this.position = this.chunks[0].first;
  },
  render(count) {
    while (count > 0 && !this.paused && this.chunks.length) {
      const chunk = this.chunks[0], taken = Math.min(count, chunk.length);
      chunk.first += taken; chunk.length -= taken; count -= taken;
      this.position = chunk.first; this.rendered += taken;
      if (!chunk.length) this.chunks.shift();
    }
  },
  cancel(epoch) {
    this.cancelled = Math.max(this.cancelled, epoch);
    this.chunks = this.chunks.filter((chunk) => chunk.epoch > epoch);
    this.paused = false;
  },
};

const summary = { session_id: "", states: [], sentences: [], audio_samples: 0, turn: null, error: null };
const client = new ConversationService(target, grpc.credentials.createInsecure());
const call = client.Converse({ deadline: Date.now() + DEADLINE_MS });
let capture = 0, frames = 0, clock = null;

call.write({ config: { input_format: { encoding: "ENCODING_PCM16", sample_rate_hertz: RATE_HZ } } });

function start() {
  call.write({ text: { text } });
  const begun = performance.now();
  clock = setInterval(() => {
    for (; frames * FRAME_MS <= performance.now() - begun; frames += 1) {
      call.write({ audio: { data: Buffer.alloc(2 * FRAME), capture_sample: capture, far_end_sample: player.position } });
      capture += FRAME;
      player.render(FRAME);
    }
    call.write({ playout_progress: { far_end_sample: player.position, paused: player.paused } });
  }, FRAME_MS);
}

call.on("data", (message) => {
  switch (message.response) {
    case "session_ready": summary.session_id = message.session_ready.session_id; start(); break;
    case "state_changed": summary.states.push(message.state_changed.to); break;
    case "assistant_text": summary.sentences.push(message.assistant_text.text); break;
    case "audio": summary.audio_samples += message.audio.data.length / 2; player.push(message.audio); break;
    case "pause_playout": player.paused = true; break;
    case "resume_playout": player.paused = false; break;
    case "cancel_tts": player.cancel(message.cancel_tts.epoch); break;
    case "turn_completed":
      summary.turn = message.turn_completed;
      clearInterval(clock);
      call.write({ end_session: {} });
      call.end();
      break;
    case "error": summary.error = message.error; break;
    default: // messages this client does not know are to be ignored
  }
});
call.on("error", (error) => { summary.error = { code: error.code, message: error.details }; });
call.on("status", ({ code, details }) => {
  clearInterval(clock);
  console.log(JSON.stringify({ ...summary, rendered_samples: player.rendered, status: code, details }));
  client.close();
  process.exitCode = code === grpc.status.OK && summary.turn ? 0 : 1;
});
