"""Names that publishers spell in many ways: of models, their developers and who sells them."""

import re

DEVELOPERS = {
    "alibaba": "Alibaba",
    "amazon": "Amazon",
    "anthropic": "Anthropic",
    "arcee-ai": "Arcee AI",
    "cohere": "Cohere",
    "deepseek": "DeepSeek",
    "google": "Google",
    "meta": "Meta",
    "meta-llama": "Meta",
    "minimax": "MiniMax",
    "mistralai": "Mistral",
    "moonshotai": "Moonshot AI",
    "nvidia": "Nvidia",
    "openai": "OpenAI",
    "openrouter": "undisclosed",  # models on trial under a cover name
    "qwen": "Alibaba",
    "stepfun": "StepFun",
    "tencent": "Tencent",
    "x-ai": "xAI",
    "xiaomi": "Xiaomi",
    "z-ai": "Z.ai",
}
"""Developers by the first part of a model's address."""

_BY_NAME = {
    "Alibaba": r"qwen|qwq",
    "Amazon": r"nova-|titan-",
    "Anthropic": r"claude",
    "Cohere": r"command",
    "DeepSeek": r"deepseek",
    "Google": r"gemini|gemma",
    "Meta": r"llama|muse-",
    "MiniMax": r"minimax",
    "Mistral": r"(?:open-)?(?:mi[sx]tral|codestral|devstral|ministral|magistral)",
    "Moonshot AI": r"kimi|moonshot",
    "OpenAI": r"gpt-|chatgpt|o\d(?:-|$)|text-davinci|codex",
    "Z.ai": r"glm-",
    "xAI": r"grok",
}

_SPELLINGS = (
    # Who makes it or where it runs stands before the name.
    (r"^.*/", ""),
    (r"^(?:us|global)\.", ""),
    (r"^deepseek\.(?=[rv]\d)", "deepseek-"),
    (r"^(?:amazon|anthropic|cohere|deepseek|google|meta|minimax|mistral|moonshot(?:ai)?|nvidia"
     r"|openai|qwen|xai|zai)\.(?=[a-z])", ""),
    (r"^(?:meta-(?=llama)|amazon-(?=nova)|cohere-(?=command))", ""),
    # Versions of the service, days and forms stand behind it.
    (r"(?:-v\d+|-1)?:\d+(?::\d+k)?$", ""),
    (r"@", "-"),
    (r"-(?:default|latest|maas)$", ""),
    (r"-20\d\d-?[01]\d-?[0-3]\d(?=$|-)", ""),
    (r"-(?:instruct|it|hf|chat-hf)(?:-v0\.\d)?$", ""),
    (r"-(?:8192|32768|131072)$", ""),
    (r"^open-(?=mi[sx]tral)", ""),
    (r"^gpt-35", "gpt-3.5"),
    (r"^llama-?([234])[-.]?([1-3])(?=-)", r"llama-\1.\2"),
    (r"^llama([234])(?=-)", r"llama-\1"),
    (r"^(llama-4-[a-z]+)-17b.*", r"\1"),
    (r"^(llama-.*\db)-(?:chat|instruct).*", r"\1"),
    (r"^claude-v?2.*", "claude-2"),
    (r"^claude-instant.*", "claude-instant"),
    (r"^claude-(3)\.(\d)", r"claude-\1-\2"),
    (r"^claude-([4-9])[.-](\d)-([a-z]+)", r"claude-\3-\1-\2"),
    (r"^claude-([4-9])-([a-z]+)", r"claude-\2-\1"),
    (r"^(claude-[a-z]+-\d)\.(\d)", r"\1-\2"),
    (r"^(claude-[a-z]+-\d)-0$", r"\1"),
    (r"^(claude-.*)-v1$", r"\1"),
    (r"^gemini-(flash|pro)-(1\.5)", r"gemini-\2-\1"),
    (r"^gemini-(\d)-(\d)-", r"gemini-\1.\2-"),
    (r"^(gemini-.*)-00\d$", r"\1"),
    (r"^grok-4-(1|20)-", r"grok-4.\1-"),
    (r"^grok-4-0709$", "grok-4"),
    (r"^(grok-code-.*)-\d{4}$", r"\1"),
    (r"^gpt-4\.5$", "gpt-4.5-preview"),
    (r"^(kimi-k2\.\d)-\d{4}$", r"\1"),
    (r"^(kimi-k2-\d{4})-preview$", r"\1"),
    (r"^qwen-?2[.-]5-", "qwen2.5-"),
)  # fmt: skip


def model_name(spelling: str) -> str:
    """The book's name of a model: one for the spellings of publishers, without a day."""
    name = spelling.strip().lower().replace("_", "-")
    for pattern, better in _SPELLINGS:
        name = re.sub(pattern, better, name)
    return name


def developer(model: str) -> str:
    """Who made a model, by its name in the book; empty where it does not tell."""
    return next((who for who, told in _BY_NAME.items() if re.match(told, model)), "")
