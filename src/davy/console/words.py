"""The two languages of the console as one table. Pure data; neither is a translation of layout.

Words follow design/console.md 7 and the standards it names: acknowledge 确认, shelve 搁置,
suppress 抑制, out of service 停用, latch 锁存, return to normal 恢复, black box 黑匣子,
cosigned 见证, exposure 暴露窗口. Between Han and Latin the browser puts the gap (text-autospace).
"""

from collections.abc import Mapping
from dataclasses import dataclass

LANGUAGES = ("en", "zh")

#: key -> (English, Chinese); `{name}` is filled in by the caller.
CATALOGUE: dict[str, tuple[str, str]] = {
    # frame
    "skip": ("Skip to the page", "跳到正文"),
    "main_nav": ("Main", "主导航"),
    "wall": ("Wall", "状态墙"),
    "values": ("Values", "实时值"),
    "alarms": ("Alarms", "报警"),
    "points": ("Points", "测点"),
    "black_box": ("Black box", "黑匣子"),
    "people": ("People", "人员"),
    "sites": ("Sites", "企业"),
    "sign_out": ("Sign out", "退出"),
    "keys_on": ("keys on", "启用快捷键"),
    "keys_off": ("keys off", "关闭快捷键"),
    "seen_from": ("seen from {name}", "由{name}查看"),
    "dark": ("dark", "深色"),
    "light": ("light", "浅色"),
    "edge_word": ("edge {box}", "前端机{box}"),
    "centre_word": ("supervision centre", "监管中心"),
    "tally": ("Active alarms by priority", "各级当前报警数"),
    "active_alarms": ("active alarms", "当前报警"),
    "none_active": ("no active alarms", "无报警"),
    "n_unacknowledged": ("{n} unacknowledged", "{n}条未确认"),
    "all_acknowledged": ("all acknowledged", "全部已确认"),
    "nothing_waits": ("nothing waits", "无待处理"),
    "priority": ("priority {n}", "{n}级"),
    "badge_box": ("black box", "黑匣子"),
    "badge_cosigned": ("cosigned", "见证"),
    "badge_never": ("never", "尚无"),
    "badge_alone": ("held here only", "仅存本机"),
    "badge_exposure": ("exposure", "暴露窗口"),
    "ago": ("{age} ago", "{age}前"),
    "offline_feed": (
        "Console cut off from the core since {time}. Values below are older than that.",
        "{time}起控制台与采集内核断开，以下均为此前的数值。",
    ),
    "offline_page": (
        "Screen cut off for {age}. Values below are from {time}.",
        "画面已断开{age}，以下为{time}的数值。",
    ),
    "no_script": (
        "Without script this page renews itself every 10 s.",
        "未启用脚本，本页每10秒自动刷新。",
    ),
    # roles
    "role_viewer": ("viewer", "查看员"),
    "role_operator": ("operator", "操作员"),
    "role_manager": ("safety manager", "安全管理员"),
    "role_inspector": ("inspector", "监察员"),
    "role_admin": ("administrator", "系统管理员"),
    # the sentence
    "say_calm": ("Nothing is in alarm.", "当前无报警。"),
    "say_calm_all": ("All {n} points read and can be trusted.", "{n}个测点全部在线可信。"),
    "say_untrusted": ("{n} of {all} points cannot be trusted: {names}.", "{all}个测点中有{n}个不可信：{names}。"),
    "say_no_points": ("No points are configured here.", "此处未配置测点。"),
    "say_high": ("is above its high limit", "超过高限"),
    "say_high_high": ("is above its high-high limit", "超过高高限"),
    "say_low": ("is below its low limit", "低于低限"),
    "say_low_low": ("is below its low-low limit", "低于低低限"),
    "say_discrete": ("has tripped", "已动作"),
    "say_stale": ("has gone silent", "数据中断"),
    "say_bad": ("cannot be trusted", "信号不可信"),
    "say_worse": ("and still {way}, {rate} an hour", "并仍在{way}，每小时{rate}"),
    "say_better": ("and {way}, {rate} an hour", "正在{way}，每小时{rate}"),
    "say_back": ("is back to normal, not acknowledged", "已恢复正常，尚未确认"),
    "say_latched": ("is latched and waits for a reset", "已锁存，待复位"),
    "rising": ("rising", "上升"),
    "falling": ("falling", "下降"),
    "say_more_1": ("1 more alarm: {names}.", "另有1条报警：{names}。"),
    "say_more": ("{n} more alarms: {names}.", "另有{n}条报警：{names}。"),
    "and_more": ("and {n} more", "等{n}个"),
    "n_normal": ("{n} of {all} points normal", "{all}个测点中{n}个正常"),
    "n_in_alarm": ("{n} in alarm", "{n}个报警"),
    "n_bad": ("{n} bad", "{n}个坏值"),
    "n_stale": ("{n} stale", "{n}个陈旧"),
    "n_uncertain": ("{n} uncertain", "{n}个存疑"),
    # values and quality
    "other_area": ("Elsewhere", "其他"),
    "oldest": ("oldest value {age}", "最旧数值{age}"),
    "all_points": ("all {n} points", "全部{n}个测点"),
    "abnormal_only": ("abnormal first; {n} more points in this area", "异常优先，本区另有{n}个测点"),
    "good": ("good", "良好"),
    "old": ("{age} old", "旧{age}"),
    "on": ("on", "开"),
    "off": ("off", "关"),
    "limit_n": ("limit {limit}", "限值{limit}"),
    "q_stale": ("stale", "陈旧"),
    "q_frozen": ("frozen", "冻结"),
    "q_waiting": ("no data yet", "尚无数据"),
    "q_lost": ("no connection", "通信中断"),
    "q_sensor": ("sensor failure", "传感器故障"),
    "q_device": ("device failure", "设备故障"),
    "q_over": ("over range", "超量程上限"),
    "q_under": ("under range", "超量程下限"),
    "q_config": ("not configured right", "配置错误"),
    "q_oos": ("out of service", "停用"),
    "q_bad": ("bad signal", "坏值"),
    "q_uncertain": ("uncertain", "存疑"),
    "q_last": ("last usable value", "末次可用值"),
    "q_drift": ("not accurate", "精度不足"),
    "q_calibration": ("calibration", "标定中"),
    "q_maintenance": ("maintenance", "检修中"),
    "q_bypass": ("bypassed", "旁路"),
    "q_spike": ("spike", "尖峰"),
    "q_rate": ("changes too fast", "变化过快"),
    "q_clock": ("clock in doubt", "时钟存疑"),
    "q_future": ("dated in the future", "时间超前"),
    "q_substituted": ("set by hand", "就地设定"),
    "q_blocked": ("blocked", "闭锁"),
    # alarms
    "type_high": ("high", "高报"),
    "type_high_high": ("high-high", "高高报"),
    "type_low": ("low", "低报"),
    "type_low_low": ("low-low", "低低报"),
    "type_discrete": ("tripped", "动作报警"),
    "type_stale": ("silent", "数据中断"),
    "type_bad": ("bad signal", "信号坏"),
    "class_0": ("statutory", "法定"),
    "class_1": ("process", "工艺"),
    "class_2": ("information", "信息"),
    "state_unacknowledged": ("Unacknowledged", "未确认"),
    "state_acknowledged": ("Acknowledged", "已确认"),
    "state_returned": ("Returned", "已恢复"),
    "state_latched_open": ("Latched, not acknowledged", "锁存，未确认"),
    "state_latched": ("Latched, reset", "锁存，待复位"),
    "state_shelved": ("Shelved", "已搁置"),
    "state_suppressed": ("Suppressed", "已抑制"),
    "state_out_of_service": ("Out of service", "已停用"),
    "sent": ("Sent, not yet sealed", "已发出，尚未封存"),
    "tab_active": ("Active", "当前"),
    "tab_shelved": ("Shelved", "搁置"),
    "tab_suppressed": ("Suppressed", "抑制"),
    "tab_out_of_service": ("Out of service", "停用"),
    "col_priority": ("Priority", "级别"),
    "col_since": ("Since", "持续"),
    "col_point": ("Point", "测点"),
    "col_alarm": ("Alarm", "报警"),
    "col_now": ("Now", "当前值"),
    "col_limit": ("Limit", "限值"),
    "col_state": ("State", "状态"),
    "col_reply": ("Reply in", "应答剩余"),
    "col_until": ("Until", "截止"),
    "col_act": ("Act", "操作"),
    "late": ("{span} late", "超时{span}"),
    "first_of": ("first {n} of {all}", "前{n}条，共{all}条"),
    "see_all": ("all", "全部"),
    "more": ("more", "详情"),
    "shelved_left": ("shelved, {span} left", "搁置，剩余{span}"),
    "suppressed_note": ("suppressed", "已抑制"),
    "out_of_service_note": ("out of service", "已停用"),
    "unacknowledged": ("Unacknowledged", "未确认"),
    "all_areas": ("All areas", "全部区域"),
    "empty_active": ("No alarms.", "无报警。"),
    "empty_active_more": ("Every alarm of this site is normal and answered.", "本站全部报警均已恢复并应答。"),
    "empty_shelved": ("Nothing is shelved.", "无搁置的报警。"),
    "empty_suppressed": ("Nothing is suppressed.", "无抑制的报警。"),
    "empty_out_of_service": ("Nothing is out of service.", "无停用的报警。"),
    "pick_alarm": ("Pick an alarm to see it and to act.", "选择一条报警查看并处置。"),
    "alarm_gone": ("This alarm is back to normal.", "该报警已恢复正常。"),
    "now": ("Now", "当前"),
    "limit": ("Limit", "限值"),
    "since": ("Since", "持续"),
    "reply_default": ("reply time {n} min, design default", "应答时限{n}分钟，设计默认值"),
    "read_only": ("Seen from here, acted on at the site.", "此处仅可查看，处置须在现场进行。"),
    "read_only_more": (
        "Nothing a centre sends can acknowledge, shelve or silence an alarm.",
        "监管中心不能确认、搁置或消音任何报警。",
    ),
    "not_your_role": ("Your role, {role}, may look but not act.", "您的角色（{role}）只能查看，不能处置。"),
    "trend_link": ("Trend and limits", "趋势与限值"),
    "by_person": ("by {name}", "{name}"),
    "someone": ("a person of this site", "本站人员"),
    "until": ("until {time}", "至{time}"),
    "left": ("{span} left", "剩余{span}"),
    # acts
    "acknowledge": ("Acknowledge", "确认"),
    "ack": ("Ack", "确认"),
    "timed_shelve": ("Shelve", "搁置"),
    "unshelve": ("Unshelve", "取消搁置"),
    "reset": ("Reset latch", "复位"),
    "reset_short": ("Reset", "复位"),
    "add_comment": ("Comment", "备注"),
    "suppress": ("Suppress", "抑制"),
    "unsuppress": ("End suppression", "取消抑制"),
    "remove_from_service": ("Take out of service", "停用"),
    "place_in_service": ("Put back in service", "恢复使用"),
    "shelve_open": ("Shelve…", "搁置…"),
    "comment_open": ("Comment…", "备注…"),
    "shelve_question": ("Shelve {name}?", "搁置{name}？"),
    "shelve_follows": (
        "It will not list or sound for that time. It is still judged and recorded, and the level above sees it.",
        "在所给时间内不再列出和发声，仍持续判断并记录，上级可见。",
    ),
    "shelve_two": ("Statutory: shelving it needs two persons.", "法定报警：搁置须双人。"),
    "for_how_long": ("For", "时长"),
    "minutes_until": ("{n} min, until {time}", "{n}分钟，至{time}"),
    "why": ("Why", "原因"),
    "why_hint": ("sealed with your act", "与操作一并封存"),
    "shelve_button": ("Shelve it", "确定搁置"),
    "done_means_sealed": ("Done means sealed.", "封存之后才算完成。"),
    "done_acknowledge": ("Acknowledged", "已确认"),
    "done_timed_shelve": ("Shelved", "已搁置"),
    "done_unshelve": ("Unshelved", "已取消搁置"),
    "done_reset": ("Reset", "已复位"),
    "done_add_comment": ("Comment written", "备注已写入"),
    "done_suppress": ("Suppressed", "已抑制"),
    "done_unsuppress": ("Suppression ended", "已取消抑制"),
    "done_remove_from_service": ("Out of service", "已停用"),
    "done_place_in_service": ("Back in service", "已恢复使用"),
    "sealed_in": ("sealed in leaf", "已封存于叶"),
    "not_done": ("Not done: {act}.", "未执行：{act}。"),
    "fault_stale_version": (
        "The alarm moved on while you looked: you saw version {seen}, it is now version {now}. Look again, then act.",
        "查看期间报警已变化：您看到的是第{seen}版，现为第{now}版。请重新查看后再操作。",
    ),
    "fault_not_allowed": ("Your role may not do this to this class of alarm.", "您的角色不能对此类报警执行该操作。"),
    "fault_unreachable": (
        "The core did not answer. Nothing is known to have changed: call the control room.",
        "内核未应答，无法确认是否生效，请电话联系中控室。",
    ),
    "fault_unknown_target": ("This alarm is not standing any more.", "该报警已不存在。"),
    "fault_bad_request": ("The core did not accept it: {detail}.", "内核拒绝：{detail}。"),
    "fault_other": ("It failed: {detail}.", "失败：{detail}。"),
    # points
    "find": ("Find a point, area or word", "查找测点、区域或词语"),
    "find_button": ("Find", "查找"),
    "col_name": ("Name", "名称"),
    "col_value": ("Value", "数值"),
    "col_quality": ("Quality", "质量"),
    "col_age": ("Age", "时效"),
    "col_area": ("Area", "区域"),
    "col_tag": ("Tag", "位号"),
    "empty_points": ("No point fits.", "无匹配测点。"),
    "empty_points_more": ("Give another word, or look at all of them.", "换个词，或查看全部。"),
    "page_of": ("page {n} of {all}", "第{n}页，共{all}页"),
    "next_page": ("next", "下一页"),
    "previous_page": ("previous", "上一页"),
    # one point
    "range_600": ("10 min", "10分钟"),
    "range_3600": ("1 h", "1小时"),
    "range_28800": ("8 h", "8小时"),
    "range_86400": ("24 h", "24小时"),
    "range_604800": ("7 d", "7天"),
    "earlier": ("earlier", "更早"),
    "later": ("later", "更晚"),
    "to_now": ("to now", "回到现在"),
    "trend_of": ("{name} from {t0} to {t1}", "{name}，{t0}至{t1}"),
    "lane_quality": ("Quality", "质量"),
    "lane_alarms": ("Alarms", "报警"),
    "lane_acts": ("Acts", "操作"),
    "lane_acts_who": ("who did what", "何人何事"),
    "no_data": ("no data {span}", "无数据{span}"),
    "now_at": ("now {time}", "现在{time}"),
    "limits_in_force": ("Limits in force", "现行限值"),
    "tag_revision": ("tag revision {n}", "位号第{n}版"),
    "no_limits": ("No limits on this point.", "本测点未设限值。"),
    "to_limit": ("to go", "距限值"),
    "over_by": ("over by {n}", "超出{n}"),
    "instrument": ("Instrument", "仪表"),
    "kv_class": ("Class", "类别"),
    "kv_range": ("Range", "量程"),
    "kv_link": ("Link", "链路"),
    "kv_address": ("Address", "地址"),
    "kv_signal": ("Signal", "信号"),
    "kv_stale": ("Stale after", "陈旧时限"),
    "kv_status": ("Status", "状态码"),
    "kv_flags": ("Flags", "标志"),
    "kv_source_time": ("Source time", "源时间"),
    "in_black_box": ("In the black box", "黑匣子内"),
    "kv_readings": ("Readings here", "本段读数"),
    "kv_held": ("Held by {holder}", "{holder}持有"),
    "held_all": ("all of it", "全部"),
    "held_until": ("up to {time}", "至{time}"),
    "held_none": ("none of it yet", "尚无"),
    "figures": ("The figures", "数据表"),
    "col_time": ("Time", "时间"),
    "col_min": ("Least", "最小"),
    "col_avg": ("Mean", "平均"),
    "col_max": ("Most", "最大"),
    "col_count": ("Readings", "读数"),
    "col_good": ("Good", "良好"),
    "save_csv": ("CSV", "CSV"),
    "empty_history": ("No readings in this range.", "该时段无读数。"),
    "empty_history_more": ("Take a longer range, or go back to now.", "请选择更长时段，或回到现在。"),
    "history_down": (
        "The history does not answer, so no trend is drawn. Live values go on.",
        "历史服务无应答，无法绘制趋势，实时值不受影响。",
    ),
    "falling_by": ("falling {rate} an hour", "每小时下降{rate}"),
    "rising_by": ("rising {rate} an hour", "每小时上升{rate}"),
    "steady": ("steady", "平稳"),
    "range_words": ("range {low} to {high}", "量程{low}至{high}"),
    # black box page
    "held_sentence": ("Everything before {time} is held by {holder}.", "{time}之前的全部记录已由{holder}持有。"),
    "held_nothing": ("Nothing is held by {holder} yet.", "{holder}尚未持有任何记录。"),
    "held_alone": ("This box has no centre: everything is held here only.", "本机未接入上级：全部记录仅存本机。"),
    "at_risk": (
        "What came after lies here only: {n} entries. Whoever destroys this box destroys those, and nothing else.",
        "此后的{n}条记录仅存本机。毁掉本机只能毁掉这些。",
    ),
    "nothing_at_risk": ("Nothing lies here only.", "没有仅存本机的记录。"),
    "tree_size": ("Tree size", "树大小"),
    "entries": ("entries", "条"),
    "signed_at": ("Newest checkpoint", "最新检查点"),
    "held_size": ("Cosigned size", "已见证大小"),
    "held_time": ("Cosigned at", "见证时间"),
    "exposure": ("Exposure", "暴露窗口"),
    "exposure_limit": ("limit {age}", "限值{age}"),
    "origin": ("Origin", "来源"),
    "checkpoint_text": ("The checkpoint, as signed", "检查点原文"),
    "what_is_held": ("What is held, and by whom", "谁持有什么"),
    "here": ("here", "本机"),
    "behind": ("{n} behind", "落后{n}条"),
    "not_configured": ("not configured", "未配置"),
    "never": ("never", "尚无"),
    # centre
    "say_sites_calm": ("All {n} sites are quiet.", "{n}个站点均平静。"),
    "say_sites": ("{n} of {all} sites need a look: {names}.", "{all}个站点中有{n}个需关注：{names}。"),
    "say_no_sites": ("No site has sent anything yet.", "尚无站点上报。"),
    "site_quiet": ("Quiet, data live", "平静，数据正常"),
    "site_untrusted": ("{n} of {all} points cannot be trusted", "{all}个测点中{n}个不可信"),
    "site_silent": ("No data for {age}", "{age}无数据"),
    "site_alarms_1": ("1 alarm: {name}", "1条报警：{name}"),
    "site_alarms": ("{n} alarms, first {name}", "{n}条报警，首要{name}"),
    "site_points": ("{n} points", "{n}个测点"),
    "site_points_1": ("1 point", "1个测点"),
    "site_newest": ("newest value {age}", "最新数值{age}"),
    "site_held": ("held to {time}", "持有至{time}"),
    # sign-in
    "sign_in": ("Sign in", "登录"),
    "login": ("Login", "登录名"),
    "password": ("Password", "密码"),
    "password_hint": ("at least 10 characters, any you like", "至少10个字符，不限种类"),
    "your_name": ("Your name", "姓名"),
    "your_name_hint": ("kept on this machine, never in the black box", "仅存本机，不进入黑匣子"),
    "sign_in_failed": ("Not signed in. Login or password is wrong.", "未登录：登录名或密码错误。"),
    "sign_in_wait": (
        "Sign-in is closed for {n} s after too many failures.",
        "失败次数过多，{n}秒后可再次登录。",
    ),
    "first_hint": (
        "There is no default password. The first administrator comes in by the one-time link printed at the start.",
        "系统没有默认密码。首个管理员通过启动时打印的一次性链接进入。",
    ),
    "link_first": ("You are the first administrator of this console", "您是本控制台的首个管理员"),
    "link_invite": ("You are invited as {role}", "您受邀担任{role}"),
    "link_enter": ("Enter as {name}", "以{name}身份进入"),
    "link_enter_more": ("This link works once.", "此链接只能使用一次。"),
    "link_dead": ("This link has been used, has expired or never was.", "此链接已使用、已过期或不存在。"),
    "link_dead_more": ("Ask for a new one, or start the console again.", "请索取新链接，或重新启动控制台。"),
    "enrol_button": ("Create and sign in", "创建并登录"),
    "enter_button": ("Enter", "进入"),
    "not_taken": ("Not taken over: {detail}", "未通过：{detail}"),
    # people
    "people_hint": (
        "The black box knows people only as pseudonyms; the names stay here and can be erased.",
        "黑匣子只记假名，姓名只存本机并可删除。",
    ),
    "col_login": ("Login", "登录名"),
    "col_person": ("Name", "姓名"),
    "col_role": ("Role", "角色"),
    "col_pseudonym": ("Pseudonym", "假名"),
    "active": ("may sign in", "可登录"),
    "kept_out": ("kept out", "已禁止"),
    "no_password": ("by one-time link only", "仅限一次性链接"),
    "keep_out": ("Keep out", "禁止登录"),
    "let_in": ("Let in", "允许登录"),
    "invite": ("Invite somebody", "邀请人员"),
    "invite_hint": (
        "You get a link that works once within three days. Hand it over in person.",
        "将得到一个三天内有效、只能使用一次的链接，请当面交付。",
    ),
    "invite_button": ("Make a link", "生成链接"),
    "invite_made": ("Hand this link over now; it is not shown again.", "请立即交付此链接，之后不再显示。"),
    "you": ("you", "本人"),
    # faults
    "fault_title": ("This page was not made", "无法显示此页"),
    "fault_404": ("There is nothing at this address.", "此地址没有内容。"),
    "fault_403": ("Your role may not see or do this.", "您的角色无权查看或执行。"),
    "fault_503": ("The core does not answer; this page follows as soon as it does.", "内核无应答，恢复后即可显示。"),
    "fault_500": ("The console made a mistake. It is written in its log.", "控制台出错，已写入日志。"),
    "fault_csrf": (
        "The form was too old or came from elsewhere. Nothing was changed: load the page again and send it once more.",
        "表单已失效或来自他处，未作任何更改。请返回刷新页面后重新提交。",
    ),
    "back_home": ("Back to the first page", "返回首页"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Words:
    """Call it with a key and what fills its braces."""

    language: str

    def __call__(self, key: str, **values: object) -> str:
        text = CATALOGUE[key][LANGUAGES.index(self.language)]
        return text.format(**values) if values else text

    def points(self, n: int) -> str:
        return self("site_points_1") if n == 1 else self("site_points", n=n)

    @property
    def comma(self) -> str:
        return "，" if self.language == "zh" else ", "

    @property
    def space(self) -> str:
        """Between words: none in Chinese."""
        return "" if self.language == "zh" else " "

    def pick(self, names: Mapping[str, str] | None, otherwise: str = "") -> str:
        """The name in this language, or the other one, or `otherwise`: names are never translated."""
        names = names or {}
        return names.get(self.language) or next((n for n in names.values() if n), "") or otherwise


WORDS = {language: Words(language) for language in LANGUAGES}


def choose(cookie: str | None, accept_language: str) -> Words:
    """By cookie, else the first of Accept-Language we speak, else English."""
    if cookie in WORDS:
        return WORDS[cookie]
    wanted: list[tuple[float, str]] = []
    for part in accept_language.split(",")[:16]:
        tag, _, rest = part.partition(";")
        try:
            weight = float(rest.strip().removeprefix("q=") or 1)
        except ValueError:
            weight = 0.0
        wanted.append((weight, tag.strip().lower().split("-")[0]))
    for _, tag in sorted(wanted, key=lambda w: -w[0]):
        if tag in WORDS:
            return WORDS[tag]
    return WORDS["en"]
